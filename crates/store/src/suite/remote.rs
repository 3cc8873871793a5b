//! Object stores reached over a network, held to the contract of the trait.

use testkit::services::{self, BUCKET};

use crate::{ObjectStore, RemoteObjects, suite};

#[test]
fn s3_objects() {
    let server = services::s3();
    suite::objects(|| {
        let url = format!("s3://{BUCKET}/{}", server.new_prefix());
        let options = services::s3_options(server.port());
        ((), RemoteObjects::open(&url, &options).unwrap())
    });
}

#[test]
fn azure_objects() {
    let server = services::azure();
    suite::objects(|| {
        let url = format!("az://{BUCKET}/{}", server.new_prefix());
        let options = services::azure_options(server.port());
        ((), RemoteObjects::open(&url, &options).unwrap())
    });
}

#[test]
fn a_whole_bucket_and_a_prefix_of_it() {
    let server = services::azure();
    let options = services::azure_options(server.port());
    let open = |url: &str| RemoteObjects::open(url, &options).unwrap();
    let whole = open(&format!("az://{BUCKET}"));
    let prefix = server.new_prefix();
    let part = open(&format!("az://{BUCKET}/{prefix}/"));
    part.put("tile/0/000", b"bytes").unwrap();
    assert_eq!(part.list("").unwrap(), ["tile/0/000"]);
    let key = format!("{prefix}/tile/0/000");
    assert_eq!(whole.get(&key).unwrap().as_deref(), Some(&b"bytes"[..]));
    assert_eq!(whole.list(&prefix).unwrap(), [key]);
}
