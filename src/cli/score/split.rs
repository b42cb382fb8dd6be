//! Which replies belong to the fifth that is held back: by cluster of alike texts, never by row.

use std::collections::{BTreeSet, HashMap};

use crate::model::{FNV1A_BASIS, fnv1a};

/// Whether each text belongs to the fifth. Texts that share at least half of their words (Jaccard), directly or through
/// others, are one cluster, and a cluster is held back as a whole.
pub(super) fn held<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<bool> {
    let texts: Vec<&str> = texts.collect();
    let words: Vec<BTreeSet<String>> = texts.iter().map(|text| words(text)).collect();
    let mut parents: Vec<usize> = (0..texts.len()).collect();
    for (later, (text, these)) in texts.iter().zip(&words).enumerate() {
        for (earlier, (other, those)) in texts.iter().zip(&words).enumerate().take(later) {
            let all = these.union(those).count();
            let alike = if all == 0 { text == other } else { these.intersection(those).count() * 2 >= all };
            if alike {
                let (from, to) = (root(&mut parents, later), root(&mut parents, earlier));
                if let Some(parent) = parents.get_mut(from) {
                    *parent = to;
                }
            }
        }
    }
    let mut keys: HashMap<usize, String> = HashMap::new();
    let roots: Vec<usize> = (0..texts.len()).map(|at| root(&mut parents, at)).collect();
    for ((root, these), text) in roots.iter().zip(&words).zip(&texts) {
        let key = if these.is_empty() {
            (*text).to_owned()
        } else {
            these.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        let smallest = keys.entry(*root).or_insert_with(|| key.clone());
        if key < *smallest {
            *smallest = key;
        }
    }
    roots
        .iter()
        .map(|root| keys.get(root).is_some_and(|key| fnv1a(FNV1A_BASIS, key.as_bytes()).is_multiple_of(5)))
        .collect()
}

fn root(parents: &mut [usize], of: usize) -> usize {
    let mut at = of;
    while let Some(&parent) = parents.get(at)
        && parent != at
    {
        let above = parents.get(parent).copied().unwrap_or(parent);
        if let Some(place) = parents.get_mut(at) {
            *place = above;
        }
        at = above;
    }
    at
}

/// The words that are the same for every recipient: without addresses and whatever holds a digit.
fn words(text: &str) -> BTreeSet<String> {
    let kept = text.split_whitespace().filter(|token| !token.bytes().any(|b| b == b'@' || b.is_ascii_digit()));
    let letters = kept.map(|token| {
        let letters = token.chars().filter(char::is_ascii_alphabetic);
        letters.map(|letter| letter.to_ascii_lowercase()).collect::<String>()
    });
    letters.filter(|word| word.len() >= 2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_texts_stay_together_whatever_their_order() {
        let texts: Vec<String> = (0..40)
            .flat_map(|n: u32| {
                let word = ["red", "green", "blue", "white", "black"][n as usize % 5].repeat(1 + n as usize / 5);
                [
                    format!("550 <a{n}@example.com> {word} is unknown"),
                    format!("551 <b{n}@example.org> {word} is unknown"),
                ]
            })
            .collect();
        let forward = held(texts.iter().map(String::as_str));
        for pair in forward.chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
        let mut backward = held(texts.iter().rev().map(String::as_str));
        backward.reverse();
        assert_eq!(forward, backward);
    }
}
