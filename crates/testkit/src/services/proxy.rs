//! A proxy between a client and a real server, which fails as a test says.
//!
//! It looks at what the client sends, as far as it arrives in one piece, and at nothing the server says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It does not arrive: the connection is cut.
    Lose,
    /// It arrives, and the connection is cut at the first byte of the answer.
    LoseAnswer,
    /// It arrives, and the connection is cut after so many bytes of the answer.
    CutAnswer(usize),
    /// It does not arrive, and this is answered instead.
    Answer(&'static str),
    /// Neither it nor anything after it on its connection arrives or is answered, until [`Proxy::heal`].
    Hang,
    /// It arrives with a text replaced by another, of the same length.
    Replace(&'static str, &'static str),
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    plan: Vec<Planned>,
    struck: usize,
    /// New connections are cut at once.
    down: bool,
    /// What is added to each answer's headers.
    headers: String,
    /// Counts the times it was healed, for those that hang.
    healed: usize,
    open: Vec<TcpStream>,
}

#[derive(Debug)]
struct Planned {
    text: &'static str,
    times: usize,
    fault: Fault,
}

impl Proxy {
    /// Listens, and passes everything on to a port of this machine.
    ///
    /// # Panics
    /// If there is no port to listen on.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(State::default()));
        let state = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || serve(&client, target, &state));
            }
        });
        Self { address, shared }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lets the next `times` requests that hold `text` have a fault; of several plans the first that fits.
    pub fn plan(&self, text: &'static str, times: usize, fault: Fault) {
        let planned = Planned { text, times, fault };
        self.state().plan.push(planned);
    }

    /// Adds lines to the headers of every HTTP answer, for servers that lack what a client insists on.
    pub fn add_headers(&self, lines: &str) {
        lines.clone_into(&mut self.state().headers);
    }

    /// How often a fault struck. A test that ends without has not tested what it meant to.
    pub fn struck(&self) -> usize {
        self.state().struck
    }

    /// Cuts all connections, and each new one until [`heal`](Self::heal).
    pub fn cut(&self) {
        let mut state = self.state();
        state.down = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Forgets all faults; what hangs goes on.
    pub fn heal(&self) {
        let mut state = self.state();
        state.plan.clear();
        state.down = false;
        state.healed += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(client: &TcpStream, target: u16, state: &Arc<Mutex<State>>) {
    let cut = |stream: &TcpStream| {
        let _ = stream.shutdown(Shutdown::Both);
    };
    if lock(state).down {
        return cut(client);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
        return cut(client);
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let answer_bytes = Arc::new(Mutex::new(None));
    {
        let mut state = lock(state);
        state.open.extend(client.try_clone());
        state.open.extend(server.try_clone());
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            answers(&server, client, &answer_bytes, state);
            cut(client);
            cut(&server);
        });
        requests(client, &server, state, &answer_bytes);
        cut(client);
        cut(&server);
    });
}

/// Passes on requests until one is to be the last.
fn requests(
    mut client: &TcpStream,
    mut server: &TcpStream,
    state: &Mutex<State>,
    answer_bytes: &Mutex<Option<usize>>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let chunk = &mut buffer[..length];
        let mut hangs_since = None;
        let fault = {
            let mut state = lock(state);
            let fault = strike(&mut state, chunk);
            if matches!(fault, Some(Fault::Hang)) {
                hangs_since = Some(state.healed);
            }
            fault
        };
        if let Some(healed) = hangs_since {
            let deadline = Instant::now() + Duration::from_mins(2);
            while lock(state).healed == healed && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
        }
        match fault {
            None | Some(Fault::Hang) => {}
            Some(Fault::Lose) => return,
            Some(Fault::LoseAnswer) => set(answer_bytes, 0),
            Some(Fault::CutAnswer(bytes)) => set(answer_bytes, bytes),
            Some(Fault::Answer(answer)) => {
                let _ = client.write_all(answer.as_bytes());
                // A client that still sends its body must not be reset before it has read the answer.
                let _ = client.shutdown(Shutdown::Write);
                while let Ok(1..) = client.read(&mut buffer) {}
                return;
            }
            Some(Fault::Replace(from, to)) => {
                assert_eq!(from.len(), to.len(), "lengths are not to change");
                if let Some(at) = find(chunk, from) {
                    chunk[at..at + to.len()].copy_from_slice(to.as_bytes());
                }
            }
        }
        if server.write_all(chunk).is_err() {
            return;
        }
    }
}

fn answers(
    mut server: &TcpStream,
    mut client: &TcpStream,
    answer_bytes: &Mutex<Option<usize>>,
    state: &Mutex<State>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        let headers = lock(state).headers.clone();
        if !headers.is_empty()
            && buffer.starts_with(b"HTTP/1.")
            && let Some(end) = find(&buffer[..length], "\r\n")
        {
            let (status, rest) = buffer[..length].split_at(end + 2);
            if client
                .write_all(&[status, headers.as_bytes(), rest].concat())
                .is_err()
            {
                return;
            }
            continue;
        }
        let left = *answer_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = left.map_or(length, |left| left.min(length));
        if client.write_all(&buffer[..passed]).is_err() || passed < length {
            return;
        }
        if let Some(left) = left {
            set(answer_bytes, left - passed);
        }
    }
}

fn set(answer_bytes: &Mutex<Option<usize>>, bytes: usize) {
    *answer_bytes.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
}

fn strike(state: &mut State, chunk: &[u8]) -> Option<Fault> {
    let due = state
        .plan
        .iter_mut()
        .find(|planned| planned.times > 0 && find(chunk, planned.text).is_some())?;
    due.times -= 1;
    let fault = due.fault.clone();
    state.struck += 1;
    Some(fault)
}

fn find(chunk: &[u8], text: &str) -> Option<usize> {
    chunk
        .windows(text.len())
        .position(|window| window == text.as_bytes())
}
