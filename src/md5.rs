//! MD5 (RFC 1321), for two purposes: a data stream finds the shard of a record by the MD5 of its partition
//! key, and a record in the KPL's format ends with the MD5 of what it holds. Nothing is kept secret by it. Pure.

/// The digest of `message` as the number that its bytes are, the first byte leading: a hash key.
#[must_use]
pub fn hash_key(message: &[u8]) -> u128 {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut blocks = message.chunks_exact(64);
    for block in &mut blocks {
        state = mixed(state, block);
    }
    // The rest, a bit that ends it, zeros, and the length in bits in the last eight bytes.
    let mut last = blocks.remainder().to_vec();
    last.push(0x80);
    last.resize(if last.len() <= 56 { 56 } else { 120 }, 0);
    let bits = u64::try_from(message.len()).unwrap_or(u64::MAX).wrapping_mul(8);
    last.extend(bits.to_le_bytes());
    for block in last.chunks_exact(64) {
        state = mixed(state, block);
    }
    // Each word is written with its last byte first, the digest is read with its first byte first.
    state.iter().fold(0, |digest, word| digest << 32 | u128::from(word.swap_bytes()))
}

/// The state after one block of 64 bytes.
fn mixed(before: [u32; 4], block: &[u8]) -> [u32; 4] {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    let word = |at: usize| words.get(at % 16).copied().unwrap_or_default();
    let [mut a, mut b, mut c, mut d] = before;
    for (step, sine) in SINES.iter().enumerate() {
        let (mix, at) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let [first, second, third, fourth] = match step / 16 {
            0 => [7, 12, 17, 22],
            1 => [5, 9, 14, 20],
            2 => [4, 11, 16, 23],
            _ => [6, 10, 15, 21],
        };
        let turn = match step % 4 {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        };
        let sum = a.wrapping_add(mix).wrapping_add(*sine).wrapping_add(word(at));
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(turn)));
    }
    let [a0, b0, c0, d0] = before;
    [a0.wrapping_add(a), b0.wrapping_add(b), c0.wrapping_add(c), d0.wrapping_add(d)]
}

/// The whole parts of 2^32 times the sine of 1, 2, 3, … (radians).
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digests_are_those_of_the_rfc() {
        let digits = "1234567890".repeat(8);
        for (message, digest) in [
            ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e),
            ("a", 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661),
            ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
            ("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0),
            ("abcdefghijklmnopqrstuvwxyz", 0xc3fc_d3d7_6192_e400_7dfb_496c_ca67_e13b),
            (digits.as_str(), 0x57ed_f4a2_2be3_c955_ac49_da2e_2107_b67a),
        ] {
            assert_eq!(hash_key(message.as_bytes()), digest, "{message}");
        }
    }

    #[test]
    fn every_length_around_a_block_is_padded_right() {
        for (length, digest) in [
            (55, 0x0436_4420_e25c_512f_d958_a707_38aa_8f72),
            (56, 0x668a_72d5_ba17_f08e_62da_bcaf_ad6d_b14b),
            (57, 0x6930_3787_1c4a_9d3d_8685_0189_05cb_530a),
            (63, 0x7dc2_ca20_8106_a2f7_0356_7bdf_f99d_8981),
            (64, 0xc1bb_4f81_d892_b2d5_7947_682a_eb25_2456),
            (65, 0x1bc9_3205_2302_d074_bdec_3979_5fe0_0cf6),
            (119, 0xab34_7a5f_68c8_a443_cfcd_dc63_3f12_c24f),
            (120, 0xfb98_667f_9809_6de9_2620_b64f_46e1_c5b5),
            (128, 0xd69c_b61a_6ee8_7200_676e_b0d4_b90e_dbcb),
        ] {
            assert_eq!(hash_key("x".repeat(length).as_bytes()), digest, "{length}");
        }
    }
}
