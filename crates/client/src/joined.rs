//! A request's head and the beginning of its body in one packet.
//!
//! ureq sends the head by itself, so that a small append is two packets and wakes the server twice,
//! the first time for nothing. Here the head waits for what follows it. The interface this is built
//! on is exempt from ureq's promise of stable versions; a change there shows when this is compiled.

use std::fmt;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// What one read takes in, and one piece of a body: half of what the transport below sends at once,
/// so that the head fits before it.
const BUFFER_BYTES: usize = 64 << 10;

/// A connection that answered so short a time ago is taken to be open still. Asking costs three system
/// calls, twice a request; a server keeps a connection for seconds.
const SURELY_OPEN: Duration = Duration::from_millis(50);

/// Wraps the transport of the connectors before it.
#[derive(Debug)]
pub(crate) struct JoinedConnector;

impl<In: Transport> Connector<In> for JoinedConnector {
    type Out = Joined<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Joined {
            inner,
            buffers: LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES),
            held: Vec::new(),
            fresh: true,
            answered: None,
        }))
    }
}

/// A transport whose first output after an answer is held until there is more, or until an answer
/// is waited for.
pub(crate) struct Joined<T> {
    inner: T,
    buffers: LazyBuffers,
    /// What is not sent yet.
    held: Vec<u8>,
    /// Nothing was put out since an answer was waited for: what comes next is a head.
    fresh: bool,
    /// When something last arrived.
    answered: Option<Instant>,
}

impl<T: Transport> Joined<T> {
    fn send_held(&mut self, timeout: NextTimeout) -> Result<(), Error> {
        let mut rest = self.held.as_slice();
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let (now, later) = rest.split_at(rest.len().min(output.len()));
            output[..now.len()].copy_from_slice(now);
            self.inner.transmit_output(now.len(), timeout)?;
            rest = later;
        }
        self.held.clear();
        Ok(())
    }
}

impl<T: Transport> Transport for Joined<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.held
            .extend_from_slice(&self.buffers.output()[..amount]);
        if std::mem::take(&mut self.fresh) {
            Ok(())
        } else {
            self.send_held(timeout)
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.send_held(timeout)?;
        self.fresh = true;
        self.inner.maybe_await_input(timeout)?;
        let arrived = self.inner.buffers().input();
        let room = self.buffers.input_append_buf();
        let amount = arrived.len().min(room.len());
        room[..amount].copy_from_slice(&arrived[..amount]);
        self.inner.buffers().input_consume(amount);
        self.buffers.input_appended(amount);
        self.answered = (amount > 0).then(Instant::now);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.answered
            .is_some_and(|answered| answered.elapsed() < SURELY_OPEN)
            || self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<T> fmt::Debug for Joined<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn a_small_request_is_one_packet_and_a_large_one_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let mut first_reads = Vec::new();
            let mut ends = Vec::new();
            let mut buffer = vec![0; 1 << 20];
            for _ in 0..3 {
                let mut request = Vec::new();
                while !request.ends_with(b"THE END") {
                    let read = stream.read(&mut buffer).unwrap();
                    assert_ne!(read, 0);
                    if request.is_empty() {
                        first_reads.push(read);
                    }
                    request.extend_from_slice(&buffer[..read]);
                }
                let body = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
                ends.push((request.len() - body, request.len()));
                stream
                    .write_all(
                        b"HTTP/1.1 201 Created\r\ncontent-length: 14\r\n\r\n{\"records\":[]}",
                    )
                    .unwrap();
            }
            (first_reads, ends)
        });
        let client = crate::Client::new(&url, Some("rat_x")).unwrap();
        let bodies = [500, 1_000_000, 600].map(|length| {
            let mut body = vec![b'x'; length];
            body.extend_from_slice(b"THE END");
            body
        });
        for body in &bodies {
            client.append_lines(body, crate::Wait::Durable).unwrap();
        }
        let (first_reads, ends) = server.join().unwrap();
        for (body, (received, _)) in bodies.iter().zip(&ends) {
            assert_eq!(body.len(), *received);
        }
        assert_eq!(first_reads[0], ends[0].1, "the head came by itself");
        assert_eq!(first_reads[2], ends[2].1, "the head came by itself");
    }
}
