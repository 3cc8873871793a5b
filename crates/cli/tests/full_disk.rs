//! A disk that is really full: a small tmpfs, filled. What cannot be kept is refused, reading goes on, and once there is
//! room again everything goes on without a restart (I1, I5). Only root can mount.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::io::{self, Read as _, Write as _};

use client::{Client, ClientError, Wait};
use common::disk::{Tmpfs, fill};
use common::load::{Producer, client, settle};
use common::{ADMIN, Desk, Server, eventually};

/// Sends until the server has no room, and gives the answer's head then.
fn refused(server: &Server, client: &Client, producer: &mut Producer) -> String {
    for _ in 0..20_000 {
        let (status, head) = post(server, &producer.lines(18));
        if status == 503 {
            return head;
        }
        // Takes down that it is there.
        producer.send_and(client, 18, Wait::Durable).unwrap();
    }
    panic!("the disk is full, and everything is taken");
}

/// What `/health/ready` answers, in lower case.
fn readiness(server: &Server) -> (u16, String) {
    let (status, body) = common::get(&format!("{}/health/ready", server.url));
    (status, String::from_utf8(body).unwrap().to_lowercase())
}

#[test]
fn a_full_disk_is_said_and_left_without_a_restart() {
    let desk = Desk::new();
    let Some(tmpfs) = Tmpfs::mount(&desk.path("small"), 48) else {
        return;
    };
    std::os::unix::fs::symlink("small/audit-data", desk.path("audit-data")).unwrap();
    fs::create_dir(desk.path("small/audit-data")).unwrap();
    desk.ok(&["init"]);
    let mut crew = Producer::crew(3, 5_000);
    settle(&desk, &mut crew);
    let server = Server::start(&desk);
    let client = client(&server.url);
    let ballast = desk.path("small/ballast");
    // Full to the last page, and with a little left, so that it ends at different steps.
    for leave in [0, 64 << 10, 1 << 20, 300 << 10] {
        for producer in &mut crew {
            producer.send_and(&client, 18, Wait::Published).unwrap();
        }
        fill(&ballast, leave);
        let head = refused(&server, &client, &mut crew[0]);
        assert!(head.contains("retry-after: "), "{leave}: {head}");
        let (_, health) = readiness(&server);
        assert!(health.contains("no space left"), "{leave}: {health}");
        // It is alive, and what is published can be read.
        assert!(server.is_live(), "{leave}");
        assert_eq!(
            common::get(&format!("{}/log/checkpoint", server.url)).0,
            200
        );
        // Nor is there room for an attachment, of which nothing is left behind.
        let attachment = vec![leave as u8; 3 << 20];
        let put = || client.put_attachment(&mut io::Cursor::new(&attachment));
        let no_room = put().unwrap_err();
        assert!(
            matches!(no_room, ClientError::Unavailable { .. }),
            "{leave}: {no_room}"
        );
        let tmp = desk.path("audit-data/tmp");
        assert_eq!(fs::read_dir(tmp).unwrap().count(), 0, "{leave}");
        fs::remove_file(&ballast).unwrap();
        eventually("an attachment is taken again", || put().is_ok());
        // The very same bytes are taken once there is room.
        for producer in &mut crew {
            eventually("everything is taken again", || {
                producer.send_and(&client, 3, Wait::Durable).is_ok()
            });
        }
        eventually("the server is well again", || {
            let (status, health) = readiness(&server);
            status == 200 && !health.contains("no space left")
        });
    }
    server.stop();
    settle(&desk, &mut crew);
    drop(tmpfs);
}

/// Posts records; the status, and the answer's head in lower case.
fn post(server: &Server, lines: &[u8]) -> (u16, String) {
    let address = server.url.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/records HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ADMIN}\r\nconnection: close\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        lines.len()
    )
    .unwrap();
    stream.write_all(lines).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
    let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
    (status, head)
}
