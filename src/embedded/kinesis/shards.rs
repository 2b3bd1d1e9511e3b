//! The shards of a data stream: equal parts of the hash keys from 0 to 2^128 - 1. Pure.

use crate::md5;

/// The hash key of a record: the explicit one, or the MD5 of its partition key.
pub(super) fn hash_key(partition_key: &str, explicit: Option<u128>) -> u128 {
    explicit.unwrap_or_else(|| md5::hash_key(partition_key.as_bytes()))
}

/// The shard, of so many, that a hash key falls into.
pub(super) fn shard_of(hash_key: u128, shards: u32) -> u32 {
    let last = shards.saturating_sub(1);
    let shard = width(shards).map_or(0, |width| hash_key / width);
    u32::try_from(shard).unwrap_or(last).min(last)
}

/// The first and the last hash key of a shard.
pub(super) fn range(shard: u32, shards: u32) -> (u128, u128) {
    let Some(width) = width(shards) else { return (0, u128::MAX) };
    let first = width.saturating_mul(u128::from(shard));
    if shard.saturating_add(1) >= shards {
        return (first, u128::MAX);
    }
    (first, first.saturating_add(width).saturating_sub(1))
}

/// The name of a shard.
pub(in crate::embedded) fn shard_id(shard: u32) -> String {
    format!("{SHARD_PREFIX}{shard:012}")
}

/// The shard of a name, whether the stream has it or not.
pub(super) fn parse_shard_id(id: &str) -> Option<u32> {
    let shard = id.strip_prefix(SHARD_PREFIX)?.parse().ok()?;
    (shard_id(shard) == id).then_some(shard)
}

/// How many hash keys a shard has; `None` for all of them, which are one more than a u128 counts.
fn width(shards: u32) -> Option<u128> {
    let shards = u128::from(shards);
    if shards <= 1 {
        return None;
    }
    let carry = u128::from(u128::MAX % shards == shards - 1);
    Some(u128::MAX / shards + carry)
}

const SHARD_PREFIX: &str = "shardId-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_part_the_hash_keys_without_a_gap() {
        for shards in [1, 2, 3, 4, 7, 500] {
            let mut next = 0;
            for shard in 0..shards {
                let (first, last) = range(shard, shards);
                assert_eq!((first, shard_of(first, shards)), (next, shard), "of {shards}");
                assert_eq!(shard_of(last, shards), shard, "of {shards}");
                next = last.wrapping_add(1);
            }
            assert_eq!(next, 0, "the last hash key of {shards} is the last there is");
        }
        assert_eq!(range(0, 4).1, (1 << 126) - 1);
    }

    #[test]
    fn a_partition_key_falls_where_the_service_lets_it_fall() {
        // The MD5 of "a" begins with 0x0c, that of "b" with 0x92.
        assert_eq!(shard_of(hash_key("a", None), 4), 0);
        assert_eq!(shard_of(hash_key("b", None), 4), 2);
        assert_eq!(shard_of(hash_key("a", Some(u128::MAX)), 4), 3);
    }

    #[test]
    fn a_shard_is_named_with_twelve_digits() {
        assert_eq!(shard_id(7), "shardId-000000000007");
        assert_eq!(parse_shard_id("shardId-000000000007"), Some(7));
        assert_eq!(parse_shard_id("shardId-7"), None);
    }
}
