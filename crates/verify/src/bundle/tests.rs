//! The frame, byte by byte.

use record::MAX_ATTACHMENT_BYTES;

use super::format::{Entry, FormatError, Header, Stamp};
use super::reader::Reader;
use super::writer::Writer;

const RUN: &str = "01JD0000000000000000000000";

fn small() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), RUN, b"note\n", &[[7; 32], [8; 32]], 2).unwrap();
    writer.entry(3, b"{}", b"").unwrap();
    writer.entry(9, b"[1]", b"{\"a\":1}").unwrap();
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<(Header, Vec<Entry>), FormatError> {
    let mut reader = Reader::new(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    while reader.next_attachment()?.is_some() {}
    Ok((reader.header, entries))
}

#[test]
fn what_is_written_is_read() {
    let (header, entries) = read(&small()).unwrap();
    assert_eq!(header.run, RUN);
    assert_eq!(header.checkpoint, b"note\n");
    assert_eq!(header.proof, vec![[7; 32], [8; 32]]);
    assert_eq!(
        entries[0],
        Entry {
            index: 3,
            record: b"{}".into(),
            openings: vec![]
        }
    );
    assert_eq!(entries[1].openings, b"{\"a\":1}");
    assert_eq!(entries.len(), 2);
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let mut expected = b"rlhf-audit-bundle/v1\n".to_vec();
    expected.extend(RUN.as_bytes());
    expected.extend(b"\n\0\0\0\x05note\n");
    expected.extend([0, 0, 0, 0, 0, 0, 0, 2]);
    expected.extend([7; 32]);
    expected.extend([8; 32]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 2]);
    expected.extend(b"\0\0\0\0\0\0\0\x03\0\x02{}\0\0\0\0");
    expected.extend(b"\0\0\0\0\0\0\0\x09\0\x03[1]\0\0\0\x07{\"a\":1}");
    assert_eq!(small(), expected);
}

fn stamped() -> Vec<u8> {
    let stamp = Stamp {
        text: b"text\n".into(),
        response: vec![0x30, 0],
        proof: vec![[9; 32]],
    };
    let mut writer = Writer::begin(Vec::new(), &header(vec![stamp], 0)).unwrap();
    writer.entry(3, b"{}", b"").unwrap();
    writer.finish().unwrap()
}

fn header(timestamps: Vec<Stamp>, attachments: u32) -> Header {
    Header {
        run: RUN.to_owned(),
        checkpoint: b"note\n".into(),
        timestamps,
        attachments,
        proof: Vec::new(),
        entries: 1,
    }
}

fn attached() -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), &header(Vec::new(), 2)).unwrap();
    writer.entry(3, b"{}", b"").unwrap();
    writer.attachment([5; 32], 3, &mut &b"abc"[..]).unwrap();
    writer.attachment([6; 32], 0, &mut &b""[..]).unwrap();
    writer.finish().unwrap()
}

#[test]
fn attachments_stand_behind_the_entries_and_make_it_v3() {
    let mut expected = b"rlhf-audit-bundle/v3\n".to_vec();
    expected.extend(RUN.as_bytes());
    expected.extend(b"\n\0\0\0\x05note\n\0\0\0\0\0\x02");
    expected.extend([0; 8]);
    expected.extend(b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\0\x02{}\0\0\0\0");
    expected.extend([5; 32]);
    expected.extend(b"\0\0\0\0\0\0\0\x03abc");
    expected.extend([6; 32]);
    expected.extend([0; 8]);
    assert_eq!(attached(), expected);

    let mut reader = Reader::new(expected.as_slice()).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().index, 3);
    assert_eq!(reader.next_entry().unwrap(), None);
    let first = reader.next_attachment().unwrap().unwrap();
    assert_eq!((first.sha256, first.bytes), ([5; 32], 3));
    let mut piece = [0; 2];
    assert_eq!(reader.piece(&mut piece).unwrap(), 2);
    assert_eq!(&piece, b"ab");
    // What was not asked for is passed over.
    assert_eq!(reader.next_attachment().unwrap().unwrap().bytes, 0);
    assert_eq!(reader.piece(&mut piece).unwrap(), 0);
    assert_eq!(reader.next_attachment().unwrap(), None);

    // v3 is for bundles with attachments: there are not two spellings of one bundle.
    let mut none = expected;
    let count = b"rlhf-audit-bundle/v3\n".len() + 27 + 4 + 5 + 2;
    none[count + 3] = 0;
    assert!(read(&none).is_err());
}

#[test]
fn attachments_are_written_as_announced_and_in_order() {
    let begun = || {
        let mut writer = Writer::begin(Vec::new(), &header(Vec::new(), 2)).unwrap();
        writer.entry(3, b"{}", b"").unwrap();
        writer.attachment([5; 32], 1, &mut &b"x"[..]).unwrap();
        writer
    };
    assert!(begun().finish().is_err(), "one fewer than announced");
    assert!(begun().attachment([5; 32], 1, &mut &b"x"[..]).is_err());
    assert!(begun().attachment([4; 32], 1, &mut &b"x"[..]).is_err());
    assert!(begun().attachment([6; 32], 2, &mut &b"x"[..]).is_err());
    let long = MAX_ATTACHMENT_BYTES + 1;
    assert!(begun().attachment([6; 32], long, &mut &b"x"[..]).is_err());
    let mut full = begun();
    full.attachment([6; 32], 1, &mut &b"x"[..]).unwrap();
    assert!(full.attachment([7; 32], 1, &mut &b"x"[..]).is_err());
    let mut early = Writer::begin(Vec::new(), &header(Vec::new(), 1)).unwrap();
    assert!(early.attachment([5; 32], 1, &mut &b"x"[..]).is_err());

    let start = attached().len() - 32 - 8 - 3 - 32 - 8;
    let mut swapped = attached();
    swapped[start..start + 32].fill(9);
    assert!(read(&swapped).is_err(), "out of order");
    let mut long = attached();
    long[start + 32..start + 40].fill(0xff);
    assert!(read(&long).is_err(), "longer than any may be");
}

#[test]
fn timestamps_stand_behind_the_note_and_make_it_v2() {
    let mut expected = b"rlhf-audit-bundle/v2\n".to_vec();
    expected.extend(RUN.as_bytes());
    expected.extend(b"\n\0\0\0\x05note\n");
    expected.extend(b"\0\x01\0\0\0\x05text\n\0\0\0\x02\x30\0\0\x01");
    expected.extend([9; 32]);
    expected.extend([0; 8]);
    expected.extend(b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\0\x02{}\0\0\0\0");
    assert_eq!(stamped(), expected);
    let (header, entries) = read(&expected).unwrap();
    assert_eq!((header.timestamps.len(), entries.len()), (1, 1));
    assert_eq!(header.timestamps[0].proof, vec![[9; 32]]);
    // v2 is for bundles with timestamps: there are not two spellings of one bundle.
    let mut none = small();
    none[19] = b'2';
    none.splice(57..57, [0, 0]);
    assert!(read(&none).is_err());
}

#[test]
fn every_truncation_and_every_byte_more_is_refused() {
    for mut whole in [small(), stamped(), attached()] {
        assert!(read(&whole).is_ok());
        for length in 0..whole.len() {
            let cut = read(&whole[..length]);
            assert!(cut.is_err(), "{length} of {} bytes", whole.len());
        }
        whole.push(0);
        assert!(read(&whole).is_err());
    }
}

#[test]
fn the_writer_keeps_the_format() {
    assert!(Writer::new(Vec::new(), "short", b"", &[], 0).is_err());
    let mut writer = Writer::new(Vec::new(), RUN, b"", &[], 2).unwrap();
    writer.entry(5, b"{}", b"").unwrap();
    assert!(writer.entry(5, b"{}", b"").is_err(), "the same index again");
    assert!(
        writer.entry(6, &vec![b' '; 65_536], b"").is_err(),
        "too long a record"
    );
    writer.entry(6, b"{}", b"").unwrap();
    assert!(
        writer.entry(7, b"{}", b"").is_err(),
        "one more than announced"
    );
    let writer = Writer::new(Vec::new(), RUN, b"", &[], 1).unwrap();
    assert!(writer.finish().is_err(), "one fewer than announced");
}
