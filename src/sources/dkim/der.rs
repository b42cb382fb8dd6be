//! The size of an RSA public key from its DER: `SubjectPublicKeyInfo` as everybody publishes it (RFC 5280 section 4.1), or the
//! bare `RSAPublicKey` that RFC 6376 section 3.6.1 names (RFC 8017 appendix A.1.1).

use super::FaultKind;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
/// 1.2.840.113549.1.1.1, `rsaEncryption`.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// The length of the modulus in bits.
pub(super) fn rsa_bits(der: &[u8]) -> Result<u32, FaultKind> {
    let (body, rest) = element(der, SEQUENCE)?;
    if !rest.is_empty() {
        return Err(FaultKind::Rest);
    }
    if body.first() == Some(&INTEGER) {
        return modulus_bits(body);
    }
    let (algorithm, rest) = element(body, SEQUENCE)?;
    let (object_id, _) = element(algorithm, OBJECT_ID)?;
    if object_id != RSA_ENCRYPTION {
        return Err(FaultKind::NotRsa);
    }
    let (bits, rest) = element(rest, BIT_STRING)?;
    let Some((0, key)) = bits.split_first().map(|(unused, key)| (*unused, key)) else { return Err(FaultKind::NotRsa) };
    if !rest.is_empty() {
        return Err(FaultKind::Rest);
    }
    let (key, rest) = element(key, SEQUENCE)?;
    if rest.is_empty() { modulus_bits(key) } else { Err(FaultKind::Rest) }
}

/// The length of the first of two integers; the second, the exponent, must be odd and above 1.
fn modulus_bits(body: &[u8]) -> Result<u32, FaultKind> {
    let (modulus, rest) = element(body, INTEGER)?;
    let (exponent, _) = element(rest, INTEGER)?;
    let negative = modulus.first().is_none_or(|byte| *byte >= 0x80);
    let odd = exponent.last().is_some_and(|byte| byte & 1 == 1) && exponent != [1];
    if negative || !odd {
        return Err(FaultKind::NotRsa);
    }
    let mut digits = modulus.iter().skip_while(|byte| **byte == 0);
    let Some(first) = digits.next() else { return Err(FaultKind::NotRsa) };
    let below = u32::try_from(digits.count()).map_err(|_| FaultKind::NotRsa)?;
    Ok(below.saturating_mul(8) + (8 - first.leading_zeros()))
}

/// The contents of an element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Result<(&[u8], &[u8]), FaultKind> {
    let (first, rest) = match der.split_first() {
        Some((first, rest)) if *first == tag => (rest.first().copied(), rest),
        _ => return Err(FaultKind::NotRsa),
    };
    let (length, rest) = match first {
        None => return Err(FaultKind::Truncated { said: 2, there: der.len() }),
        Some(short) if short < 0x80 => (usize::from(short), rest.get(1..).unwrap_or_default()),
        // No key has a length of more than three bytes, and 0x80 is the indefinite form, which DER does not have.
        Some(long @ 0x81..=0x83) => {
            let count = usize::from(long & 0x7f);
            let Some((digits, rest)) = rest.get(1..).and_then(|rest| rest.split_at_checked(count)) else {
                return Err(FaultKind::Truncated { said: 2 + count, there: der.len() });
            };
            (digits.iter().fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
        }
        Some(_) => return Err(FaultKind::NotRsa),
    };
    let header = der.len() - rest.len();
    rest.split_at_checked(length).ok_or(FaultKind::Truncated { said: header + length, there: der.len() })
}
