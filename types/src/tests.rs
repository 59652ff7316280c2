//! What only the crate itself can see: that the version bytes of types without a version field of
//! their own are read as strictly as all others. Everything public is tested in `tests/it`.

use crate::codec::{VERSION, encode, versioned};

#[test]
fn version_before_a_first_field_is_written_and_no_other_is_read() {
    let mut bytes = Vec::new();
    versioned::write(&7_u16, &mut bytes).expect("writes to a Vec");
    assert_eq!(bytes, [VERSION, 7, 0]);
    assert_eq!(
        versioned::read::<u16, _>(&mut bytes.as_slice()).ok(),
        Some(7)
    );
    assert!(versioned::read::<u16, _>(&mut [VERSION + 1, 7, 0].as_slice()).is_err());
    assert_eq!(encode(&7_u16), [7, 0]);
}
