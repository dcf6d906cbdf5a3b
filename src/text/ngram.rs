//! The baseline to beat: character n-grams with interpolated modified Kneser-Ney smoothing.
//!
//! Source: Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling"
//! (1999), section 3. With `a` the adjusted count and `u'` the context `u` without its first
//! symbol,
//!
//! ```text
//! p(w | u) = (max(a(uw) − D(a(uw)), 0) + left(u) p(w | u')) / Σ_w a(uw)
//! left(u)  = D₁N₁(u) + D₂N₂(u) + D₃N₃₊(u)
//! ```
//!
//! where Nᵢ(u) counts the symbols that follow `u` with adjusted count i, and below the empty
//! context every symbol (the alphabet, one for unknown characters, the end of a document) has the
//! same share. The adjusted count is the count for the longest n-grams and for those that begin a
//! document; for others it is the number of different symbols that precede them.

use std::collections::HashMap;

use crate::{Error, Result};

const START: u32 = 0;
const END: u32 = 1;
/// Never counted, so every context backs off to its share.
const UNKNOWN: u32 = u32::MAX;
const ROOT: usize = 0;

/// One seen n-gram, also as a context of what follows it. The nodes form a trie whose parents come
/// first.
#[derive(Default)]
struct Node {
    length: usize,
    /// The node of this n-gram without its first symbol.
    suffix: usize,
    /// Adjusted count.
    count: u64,
    /// Σ over what follows, of adjusted counts.
    total: u64,
    /// D₁N₁ + D₂N₂ + D₃N₃₊: what the discounts took from `total`, which goes to `suffix`.
    left_over: f64,
}

/// An n-gram model over characters and the end of a document.
pub struct KneserNey {
    order: usize,
    alphabet: HashMap<char, u32>,
    nodes: Vec<Node>,
    children: HashMap<(usize, u32), usize>,
    /// For each n-gram length from 1: D₁, D₂, D₃₊.
    discounts: Vec<[f64; 3]>,
}

impl KneserNey {
    /// Counts all n-grams of up to `order` characters within `documents`.
    ///
    /// Usage error: order 0. Bad data: no documents.
    pub fn train<S: AsRef<str>>(documents: &[S], order: usize) -> Result<Self> {
        if order == 0 {
            return Err(Error::usage("n-gram order", "at least 1", "0"));
        }
        if documents.is_empty() {
            return Err(Error::bad_data("n-gram model", "at least one document", "none"));
        }
        let mut model = KneserNey {
            order,
            alphabet: HashMap::new(),
            nodes: vec![Node::default()],
            children: HashMap::new(),
            discounts: Vec::new(),
        };
        let mut edges = vec![(ROOT, START)];
        for document in documents {
            model.count(document.as_ref(), &mut edges);
        }
        model.adjust(&edges);
        Ok(model)
    }

    /// Adds the counts of one document; a new node's parent and last symbol go to `edges`.
    fn count(&mut self, document: &str, edges: &mut Vec<(usize, u32)>) {
        let mut symbols = vec![START];
        for c in document.chars() {
            let next = END + 1 + self.alphabet.len() as u32;
            symbols.push(*self.alphabet.entry(c).or_insert(next));
        }
        symbols.push(END);
        for first in 0..symbols.len() {
            let mut node = ROOT;
            for &symbol in &symbols[first..symbols.len().min(first + self.order)] {
                let (parent, new) = (node, self.nodes.len());
                node = *self.children.entry((parent, symbol)).or_insert(new);
                if node == new {
                    let length = self.nodes[parent].length + 1;
                    self.nodes.push(Node { length, ..Node::default() });
                    edges.push((parent, symbol));
                }
                self.nodes[node].count += 1;
            }
        }
    }

    /// From counts to adjusted counts, discounts and what they leave over.
    fn adjust(&mut self, edges: &[(usize, u32)]) {
        // A document's start is never predicted, so it is no outcome of the empty context.
        let start = self.children[&(ROOT, START)];
        let mut begins = vec![false; self.nodes.len()];
        let mut preceded_by = vec![0; self.nodes.len()];
        for (node, &(parent, symbol)) in edges.iter().enumerate().skip(1) {
            begins[node] = node == start || begins[parent];
            if parent != ROOT {
                let suffix = self.children[&(self.nodes[parent].suffix, symbol)];
                self.nodes[node].suffix = suffix;
                preceded_by[suffix] += 1;
            }
        }
        let mut count_of_counts = vec![[0_u64; 4]; self.order];
        for (node, entry) in self.nodes.iter_mut().enumerate().skip(1) {
            if entry.length < self.order && !begins[node] {
                entry.count = preceded_by[node];
            }
            if node != start
                && let Some(i) = entry.count.checked_sub(1)
                && i < 4
            {
                count_of_counts[entry.length - 1][i as usize] += 1;
            }
        }
        self.discounts = count_of_counts.into_iter().map(discounts).collect();
        for (node, &(parent, _)) in edges.iter().enumerate().skip(1) {
            if node != start {
                let (length, count) = (self.nodes[node].length, self.nodes[node].count);
                self.nodes[parent].total += count;
                self.nodes[parent].left_over += self.discount(length, count);
            }
        }
    }

    /// What is taken from the adjusted count of an n-gram of this length.
    fn discount(&self, length: usize, count: u64) -> f64 {
        match count {
            0 => 0.0,
            _ => self.discounts[length - 1][count.min(3) as usize - 1],
        }
    }

    /// p(symbol | the n-gram `context`).
    fn probability(&self, context: usize, symbol: u32) -> f64 {
        let node = &self.nodes[context];
        let lower = match context {
            ROOT => 1.0 / (self.alphabet.len() + 2) as f64,
            _ => self.probability(node.suffix, symbol),
        };
        if node.total == 0 {
            return lower;
        }
        let seen = self.children.get(&(context, symbol)).map_or(0.0, |&child| {
            let count = self.nodes[child].count;
            (count as f64 - self.discount(node.length + 1, count)).max(0.0)
        });
        (seen + node.left_over * lower) / node.total as f64
    }

    /// The longest seen n-gram of at most `order − 1` symbols that ends the text `context symbol`.
    fn next_context(&self, mut context: usize, symbol: u32) -> usize {
        loop {
            let next = self.children.get(&(context, symbol));
            if let Some(&next) = next.filter(|&&next| self.nodes[next].length < self.order) {
                return next;
            }
            if context == ROOT {
                return ROOT;
            }
            context = self.nodes[context].suffix;
        }
    }

    /// −log2 p of the document: of all its characters and of its end. All unknown characters are
    /// one symbol, which spares the model from saying which one it is.
    pub fn bits(&self, document: &str) -> f64 {
        let symbol = |c| self.alphabet.get(&c).copied().unwrap_or(UNKNOWN);
        let mut context = self.next_context(ROOT, START);
        let mut bits = 0.0;
        for symbol in document.chars().map(symbol).chain([END]) {
            bits -= self.probability(context, symbol).log2();
            context = self.next_context(context, symbol);
        }
        bits
    }

    /// The bits of all documents, ends included, over their characters, ends not included: what
    /// evaluation calls bits per character. NaN without characters.
    pub fn bits_per_char<S: AsRef<str>>(&self, documents: &[S]) -> f64 {
        let bits: f64 = documents.iter().map(|document| self.bits(document.as_ref())).sum();
        let chars: usize = documents.iter().map(|document| document.as_ref().chars().count()).sum();
        bits / chars as f64
    }
}

/// D₁, D₂, D₃₊ from the numbers of n-grams with adjusted counts 1 to 4 (Chen and Goodman,
/// section 3). Where those are too few to give anything sensible: ½, 1, 1½, as KenLM's fallback.
fn discounts(n: [u64; 4]) -> [f64; 3] {
    let [n1, n2, n3, n4] = n.map(|n| n as f64);
    let y = n1 / (n1 + 2.0 * n2);
    let estimate = [1.0 - 2.0 * y * n2 / n1, 2.0 - 3.0 * y * n3 / n2, 3.0 - 4.0 * y * n4 / n3];
    let sensible = |(i, d): (usize, &f64)| (0.0..=(i + 1) as f64).contains(d);
    if estimate.iter().enumerate().all(sensible) { estimate } else { [0.5, 1.0, 1.5] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use std::collections::BTreeSet;

    const TEXTS: [&str; 5] = [
        "la luna se fue a la mar\nla mar se quedó sin luna",
        "en la alta mar canta el alma\ny la calma canta al alba",
        "ay",
        "la la la la la la",
        "",
    ];

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{found} {expected}");
    }

    /// One document "a", order 2: the n-grams are ^a and a$ (once each); a and $ have one symbol
    /// before them. Nothing to estimate discounts from, so D1 = 1/2; the uniform share is 1/3 (a,
    /// $, unknown).
    #[test]
    fn a_tiny_example_by_hand() {
        let model = KneserNey::train(&["a"], 2).unwrap();
        let unigram = (1.0 - 0.5) / 2.0 + (0.5 + 0.5) / 2.0 / 3.0; // 5/12, of a and of $
        let bigram = (1.0 - 0.5) / 1.0 + 0.5 * unigram; // 17/24
        close(model.bits("a"), -2.0 * f64::log2(bigram));
        close(model.bits(""), -f64::log2(0.5 * unigram));
        // An unknown character, then the end after a context never seen.
        let unknown: f64 = 0.5 * ((0.5 + 0.5) / 2.0 / 3.0);
        close(model.bits("ñ"), -unknown.log2() - f64::log2(unigram));
        close(model.bits_per_char(&["a", ""]), model.bits("a") + model.bits(""));
    }

    #[test]
    fn discounts_follow_the_equation_or_fall_back() {
        // Y = 4/8; 1 − 2Y·2/4; 2 − 3Y·1/2; 3 − 4Y·1/1.
        assert_eq!(discounts([4, 2, 1, 1]), [0.5, 1.25, 1.0]);
        for few in [[0, 0, 0, 0], [5, 0, 0, 0], [0, 3, 2, 1], [9, 1, 8, 1]] {
            assert_eq!(discounts(few), [0.5, 1.0, 1.5]);
        }
    }

    /// The same model from the definitions, with strings and no trie.
    struct Plain {
        order: usize,
        documents: Vec<Vec<char>>,
        alphabet: BTreeSet<char>,
    }

    impl Plain {
        fn new(texts: &[&str], order: usize) -> Self {
            let alphabet = texts.iter().flat_map(|text| text.chars()).collect();
            let document = |text: &&str| format!("^{text}$").chars().collect();
            Plain { order, documents: texts.iter().map(document).collect(), alphabet }
        }

        fn grams(&self, length: usize) -> BTreeSet<Vec<char>> {
            let grams = self.documents.iter().flat_map(|d| d.windows(length).map(<[char]>::to_vec));
            grams.filter(|gram| gram != &['^']).collect()
        }

        fn adjusted(&self, gram: &[char]) -> u64 {
            if gram.len() == self.order || gram[0] == '^' {
                let windows = self.documents.iter().flat_map(|d| d.windows(gram.len()));
                return windows.filter(|window| window == &gram).count() as u64;
            }
            let longer = self.grams(gram.len() + 1);
            longer.iter().filter(|longer| &longer[1..] == gram).count() as u64
        }

        fn p(&self, context: &[char], symbol: char) -> f64 {
            let lower = match context {
                [] => 1.0 / (self.alphabet.len() + 2) as f64,
                _ => self.p(&context[1..], symbol),
            };
            let grams = self.grams(context.len() + 1);
            let mut n = [0; 4];
            for count in grams.iter().map(|gram| self.adjusted(gram) as usize) {
                if (1..=4).contains(&count) {
                    n[count - 1] += 1;
                }
            }
            let d = discounts(n);
            let (mut total, mut left_over, mut seen) = (0.0, 0.0, 0.0);
            for gram in grams.iter().filter(|gram| &gram[..context.len()] == context) {
                let count = self.adjusted(gram);
                let discount = d[count.min(3) as usize - 1];
                total += count as f64;
                left_over += discount;
                if gram[context.len()] == symbol {
                    seen = count as f64 - discount;
                }
            }
            if total == 0.0 { lower } else { (seen + left_over * lower) / total }
        }
    }

    #[test]
    fn the_trie_agrees_with_the_definitions() {
        for order in [1, 2, 3, 4] {
            let (model, plain) =
                (KneserNey::train(&TEXTS, order).unwrap(), Plain::new(&TEXTS, order));
            for text in ["la luna", "alba ñ mar", "", "zzz la"] {
                let symbols: Vec<char> = format!("^{text}$").chars().collect();
                let bits = |end: usize| {
                    let context = &symbols[(end + 1).saturating_sub(order)..end];
                    -plain.p(context, symbols[end]).log2()
                };
                close(model.bits(text), (1..symbols.len()).map(bits).sum());
            }
        }
    }

    #[test]
    fn probabilities_sum_to_one_in_every_context() {
        let model = KneserNey::train(&TEXTS, 5).unwrap();
        for context in 0..model.nodes.len() {
            let symbols = model.alphabet.values().copied().chain([END, UNKNOWN]);
            let sum: f64 = symbols.map(|symbol| model.probability(context, symbol)).sum();
            close(sum, 1.0);
            assert!(model.probability(context, UNKNOWN) > 0.0);
        }
    }

    #[test]
    fn what_was_read_is_likelier_than_what_was_not() {
        let model = KneserNey::train(&TEXTS, 5).unwrap();
        let (seen, unseen) = ("la luna se fue a la mar", "ram al a euf es anul al");
        assert!(model.bits(seen) < 0.5 * model.bits(unseen));
    }

    #[test]
    fn impossible_models_are_refused() {
        assert_eq!(KneserNey::train(&["a"], 0).err().unwrap().kind(), Kind::Usage);
        assert_eq!(KneserNey::train::<&str>(&[], 5).err().unwrap().kind(), Kind::BadData);
    }
}
