//! No parser panics, whatever it is given; and what it accepts it writes back the same.

use proptest::prelude::*;
use tlog::{
    Checkpoint, EntryBundle, Hash, HashTile, NoteSignature, Policy, SignedNote, TileId, TlogProof,
    VerifierKey,
};

/// Pieces of the formats, so that arbitrary input gets past the first check.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("\n"),
        Just("\n\n"),
        Just(" "),
        Just("\t"),
        Just("+"),
        Just("#"),
        Just("/"),
        Just("\u{2014} "),
        Just("\u{2003}"),
        Just("0"),
        Just("7"),
        Just("18446744073709551616"),
        Just("tile/"),
        Just("entries/"),
        Just("x001/"),
        Just("000"),
        Just(".p/"),
        Just("255"),
        Just("log "),
        Just("witness "),
        Just("group "),
        Just("quorum "),
        Just("none"),
        Just("all "),
        Just("any "),
        Just("a "),
        Just("b "),
        Just("c2sp.org/tlog-proof@v1\n"),
        Just("extra "),
        Just("index "),
        Just("example.com/foo"),
        Just("530d903a"),
        Just("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"),
        Just("AAAAAAA="),
        Just("="),
        Just("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
    ];
    prop::collection::vec(
        prop_oneof![
            8 => piece.prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ],
        0..24,
    )
    .prop_map(|pieces| pieces.concat())
}

fn check(bytes: &[u8], width: u16) {
    let _ = Hash::from_base64(bytes).map(|hash| assert_eq!(hash.to_string().as_bytes(), bytes));
    let _ = Policy::parse(bytes).map(|policy| policy.check(bytes));
    let _ = SignedNote::parse(bytes).map(|note| assert_eq!(note.to_string().as_bytes(), bytes));
    let _ = TlogProof::parse(bytes).map(|proof| assert_eq!(proof.to_string().as_bytes(), bytes));
    let _ = HashTile::parse(bytes, width).map(|tile| assert_eq!(tile.to_bytes(), bytes));
    let _ = EntryBundle::parse(bytes, width).map(|entries| {
        assert_eq!(
            tlog::tile::encode_entry_bundle(&entries).as_deref(),
            Ok(bytes)
        );
    });
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = TileId::parse_path(text).map(|id| assert_eq!(id.path(), text));
    let _ = VerifierKey::parse(text).map(|key| assert_eq!(key.to_string(), text));
    let _ = NoteSignature::parse(text).map(|line| assert_eq!(line.to_string(), text));
    let _ = Checkpoint::parse(text).map(|checkpoint| assert_eq!(checkpoint.to_string(), text));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn survive_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), width: u16) {
        check(&bytes, width % 258);
    }

    #[test]
    fn survive_pieces_of_their_formats(bytes in pieces(), width: u16) {
        check(&bytes, width % 258);
    }

    #[test]
    fn bundles_survive_being_cut_and_altered(
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20),
        cut: prop::sample::Index,
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = tlog::tile::encode_entry_bundle(&entries).unwrap();
        let width = entries.len() as u16;
        prop_assert_eq!(EntryBundle::parse(&bytes, width).unwrap(), entries);
        prop_assert!(EntryBundle::parse(&bytes[..cut.index(bytes.len())], width).is_err());
        let i = at.index(bytes.len());
        bytes[i] = byte;
        check(&bytes, width);
    }
}
