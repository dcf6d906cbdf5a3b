//! Against a plain float64 reference that sorts, and the statistics of many draws.

use super::cpu::least_kept;
use super::{Place, Sampler, cpu, cuda};
use crate::dtype::DType;
use crate::error::Kind;
use crate::ops::testing::{on_cuda, on_every_device};
use crate::random::{Rng, normal_pair, philox};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Tensor};

fn normals(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let pair = |i: u32| {
        let [a, b, ..] = philox(seed, [i, 0, 0, 0]);
        normal_pair(a, b).0 * scale
    };
    (0..n as u32).map(pair).collect()
}

fn rows(logits: &[f32], rows: usize, device: Device) -> Tensor {
    Tensor::from_slice(logits, &[rows, logits.len() / rows], device).unwrap()
}

/// The probabilities that the warpers of `transformers` leave, one after another, each by sorting.
fn reference(logits: &[f32], temperature: f64, top_k: usize, top_p: f64) -> Vec<f64> {
    let mut logits: Vec<f64> = logits.iter().map(|&x| f64::from(x) / temperature).collect();
    let mut falling: Vec<usize> = (0..logits.len()).collect();
    falling.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    if top_k > 0 {
        let kth = logits[falling[top_k.min(logits.len()) - 1]];
        logits.iter_mut().filter(|x| **x < kth).for_each(|x| *x = f64::NEG_INFINITY);
    }
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let softmax = |logits: &[f64]| -> Vec<f64> {
        let sum: f64 = logits.iter().map(|x| (x - max).exp()).sum();
        logits.iter().map(|x| (x - max).exp() / sum).collect()
    };
    let probs = softmax(&logits);
    let mut before = 0.0;
    for id in falling {
        if top_p < 1.0 && before >= top_p {
            logits[id] = f64::NEG_INFINITY;
        }
        before += probs[id];
    }
    softmax(&logits)
}

/// The ids that a sampler keeps of `weights`.
fn kept(logits: &[f32], temperature: f32, top_k: usize, top_p: f32) -> Vec<usize> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = logits.iter().map(|x| ((x - max) / temperature).exp()).collect();
    let sampler = Sampler::new(temperature, top_k, top_p).unwrap();
    let least = least_kept(&weights, &mut vec![0; weights.len()], &sampler);
    let key = |id: usize| u64::from(weights[id].to_bits()) << 32 | u64::from(!(id as u32));
    (0..logits.len()).filter(|&id| weights[id] > 1e-30 && key(id) >= least).collect()
}

#[test]
fn the_kept_tokens_are_those_of_the_reference() {
    for (case, &n) in [1, 2, 7, 97, 1031, 5003].iter().enumerate() {
        let logits = normals(case as u64, n, 3.0);
        for temperature in [0.1, 0.8, 1.0, 2.5] {
            for top_k in [0, 1, 3, 50, 2000, 10_000] {
                for top_p in [1e-6, 0.1, 0.5, 0.9, 0.95, 0.999, 1.0] {
                    let found = kept(&logits, temperature, top_k, top_p);
                    let probs = reference(&logits, f64::from(temperature), top_k, f64::from(top_p));
                    // Lighter tokens fade into f32's subnormal numbers.
                    let largest = probs.iter().copied().fold(0.0, f64::max);
                    let expected: Vec<usize> =
                        (0..n).filter(|&id| probs[id] > 1e-30 * largest).collect();
                    assert_eq!(found, expected, "{n} at {temperature}, {top_k}, {top_p}");
                }
            }
        }
    }
}

#[test]
fn equal_tokens_are_kept_by_rank_and_lower_ids_first() {
    // Top-k keeps all that equal the k-th, as `transformers` does; top-p the fewest, lowest ids first.
    assert_eq!(kept(&[1.0, 2.0, 2.0, 2.0, 0.0], 1.0, 2, 1.0), [1, 2, 3]);
    assert_eq!(kept(&[0.0; 8], 1.0, 0, 0.5), [0, 1, 2, 3]);
    assert_eq!(kept(&[0.0; 8], 1.0, 0, 0.51), [0, 1, 2, 3, 4]);
    assert_eq!(kept(&[f32::NEG_INFINITY, 0.0, -1.0], 1.0, 0, 0.1), [1]);
    let many = kept(&[0.5; 5000], 1.0, 0, 0.95);
    assert_eq!(many, (0..4750).collect::<Vec<_>>());
}

fn place(sequence: u32, position: u32) -> Place {
    Place { sequence, position }
}

fn draw(logits: &[f32], sampler: &Sampler, seed: u64, draws: u32) -> Vec<u32> {
    let logits = rows(logits, 1, Device::Cpu);
    let one = |position| {
        let tokens = logits.sample(sampler, Rng::new(seed), &[place(0, position)]).unwrap();
        tokens.to_vec::<u32>().unwrap()[0]
    };
    (0..draws).map(one).collect()
}

#[test]
fn draws_follow_the_distribution() {
    let logits = normals(11, 57, 2.0);
    for (temperature, top_k, top_p) in
        [(1.0, 0, 1.0), (0.8, 0, 0.95), (1.5, 10, 1.0), (2.0, 20, 0.8)]
    {
        let draws = 20_000u32;
        let sampler = Sampler::new(temperature, top_k, top_p).unwrap();
        let mut counts = [0.0f64; 57];
        draw(&logits, &sampler, 3, draws).iter().for_each(|&id| counts[id as usize] += 1.0);
        let probs = reference(&logits, f64::from(temperature), top_k, f64::from(top_p));
        // Tokens too rare for the statistic are one class together.
        let (mut chi2, mut classes, mut rare) = (0.0, 0.0, (0.0, 0.0));
        for (count, prob) in counts.iter().zip(probs) {
            let expected = prob * f64::from(draws);
            if prob == 0.0 {
                assert_eq!(*count, 0.0, "a token that is filtered out was drawn");
            } else if expected < 10.0 {
                rare = (rare.0 + count, rare.1 + expected);
            } else {
                chi2 += (count - expected).powi(2) / expected;
                classes += 1.0;
            }
        }
        if rare.1 > 0.0 {
            chi2 += (rare.0 - rare.1).powi(2) / rare.1;
            classes += 1.0;
        }
        let freedom: f64 = classes - 1.0;
        // Four standard deviations above the mean of χ².
        assert!(chi2 < freedom + 4.0 * (2.0 * freedom).sqrt(), "χ² {chi2} of {freedom}");
    }
}

#[test]
fn greedy_is_the_first_of_the_largest() {
    let logits = [[0.0, 2.0, 2.0, 1.0], [5.0, -1.0, f32::NEG_INFINITY, 5.0], [1.0, 1.5, 2.0, 9.0]];
    on_every_device(|device| {
        let tokens = rows(logits.as_flattened(), 3, device)
            .sample(&Sampler::GREEDY.below(3), Rng::new(0), &[place(0, 0); 3])
            .unwrap();
        assert_eq!(tokens.to_vec::<u32>().unwrap(), [1, 0, 2]);
    });
    // A temperature that f32 can hardly tell from 0 is as good as greedy.
    let cold = Sampler::new(f32::MIN_POSITIVE, 0, 1.0).unwrap();
    assert_eq!(draw(&logits[2], &cold, 0, 20), [3; 20]);
}

#[test]
fn only_ids_below_the_limit_are_drawn() {
    let sampler = Sampler::new(1.0, 0, 0.99).unwrap().below(2);
    let mut ids = draw(&[0.0, 0.0, 50.0], &sampler, 1, 200);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids, [0, 1]);
}

#[test]
fn a_token_depends_on_its_own_place_alone() {
    let logits = normals(5, 3 * 301, 1.0);
    let sampler = Sampler::new(1.0, 0, 0.9).unwrap();
    let places = [place(0, 7), place(1, 7), place(9, 2)];
    let sample = |logits: &[f32], places: &[Place], seed| {
        let logits = rows(logits, places.len(), Device::Cpu);
        logits.sample(&sampler, Rng::new(seed), places).unwrap().to_vec::<u32>().unwrap()
    };
    let together = sample(&logits, &places, 4);
    for (row, place) in places.iter().enumerate() {
        let alone = sample(&logits[row * 301..][..301], &[*place], 4);
        assert_eq!(alone, together[row..=row]);
    }
    // The same logits: what differs is the number drawn, by sequence, position and seed.
    let other = |sequence, seed| {
        let places: Vec<Place> = (0..50).map(|position| place(sequence, position)).collect();
        sample(&logits[..301].repeat(50), &places, seed)
    };
    assert_ne!(other(0, 4), other(1, 4));
    assert_ne!(other(0, 4), other(0, 5));
    assert!(other(0, 4).windows(2).any(|pair| pair[0] != pair[1]));
}

/// One token for each row by these numbers in [0, 1), times 2⁶⁴, from logits on either device.
fn draw_by(logits: &Tensor, limit: usize, sampler: &Sampler, uniform: &[u64]) -> Vec<u32> {
    let device = logits.device();
    let mut tokens = Buffer::new(device, DType::U32, uniform.len()).unwrap();
    match device {
        Device::Cuda(_) => cuda::draw(tokens.view_mut(), logits, limit, sampler, uniform).unwrap(),
        Device::Cpu | Device::Meta => {
            let size = uniform.len() * limit;
            let mut weights = Buffer::new(device, DType::F32, size).unwrap();
            let mut keys = Buffer::new(device, DType::U32, 2 * size).unwrap();
            let scratch = [weights.view_mut(), keys.view_mut()];
            cpu::draw(tokens.view_mut(), scratch, logits, limit, sampler, uniform).unwrap();
        }
    }
    let shape = Shape::new(&[uniform.len()]).unwrap();
    Tensor::new(tokens, shape).to_vec().unwrap()
}

#[test]
fn a_kernel_draws_the_tokens_of_the_cpu() {
    // The largest number finds the last token that is kept, in rows that fall its lightest.
    let uniform = [0, 1 << 63, 0xfff << 52, !0 << 11];
    for (case, n) in [1, 33, 769, 5003].into_iter().enumerate() {
        let mut logits: Vec<Vec<f32>> =
            (0..uniform.len()).map(|row| normals((8 * case + row) as u64, n, 3.0)).collect();
        logits[2..].iter_mut().for_each(|row| row.sort_by(|a, b| b.total_cmp(a)));
        let logits = rows(&logits.concat(), uniform.len(), Device::Cpu);
        for (i, (temperature, top_k, top_p)) in
            [(1.0, 0, 1.0), (0.7, 40, 1.0), (1.3, 0, 0.9), (0.9, 3, 0.5), (1.0, 600, 0.999)]
                .into_iter()
                .enumerate()
        {
            let sampler = Sampler::new(temperature, top_k, top_p).unwrap();
            let dtypes = [(DType::F32, n), (DType::F16, n), (DType::BF16, n.div_ceil(2))];
            let (dtype, limit) = dtypes[(case + i) % 3];
            let logits = logits.cast(dtype).unwrap();
            let expected = draw_by(&logits, limit, &sampler, &uniform);
            on_cuda(|device| {
                let logits = logits.to_device(device).unwrap();
                let found = draw_by(&logits, limit, &sampler, &uniform);
                assert_eq!(found, expected, "{limit} of {n} in {dtype}, {sampler:?}");
            });
        }
    }
}

#[test]
fn a_kernel_keeps_equals_as_the_cpu_does() {
    let equal = [0.0; 100];
    let in_steps: Vec<f32> = (0..100).map(|i| -f32::from(i / 9u8)).collect();
    for logits in [&equal[..], &in_steps] {
        let logits = rows(&logits.repeat(4), 4, Device::Cpu);
        for (top_k, top_p) in [(10, 1.0), (0, 0.5), (0, 0.51), (20, 0.75), (0, 1e-30)] {
            let sampler = Sampler::new(2.0, top_k, top_p).unwrap();
            let uniform = [0, 1 << 61, 1 << 63, !0 << 11];
            let expected = draw_by(&logits, 100, &sampler, &uniform);
            on_cuda(|device| {
                let logits = logits.to_device(device).unwrap();
                assert_eq!(draw_by(&logits, 100, &sampler, &uniform), expected, "{sampler:?}");
            });
        }
    }
}

#[test]
fn a_vocabulary_of_50257_is_drawn_from() {
    let logits = rows(&normals(3, 50257, 2.5), 1, Device::Cpu);
    let sample = |logits: &Tensor, sampler| {
        let token = logits.sample(&sampler, Rng::new(1), &[place(0, 0)]).unwrap();
        token.to_vec::<u32>().unwrap()
    };
    let samplers = [Sampler::GREEDY, Sampler::new(0.8, 50, 0.95).unwrap()];
    on_cuda(|device| {
        let on_card = logits.to_device(device).unwrap();
        for sampler in samplers {
            assert_eq!(sample(&on_card, sampler), sample(&logits, sampler), "{sampler:?}");
        }
    });
}

#[test]
fn logits_without_a_largest_number_have_diverged() {
    for bad in [[0.0, f32::NAN], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
        for sampler in [Sampler::GREEDY, Sampler::new(1.0, 1, 0.5).unwrap()] {
            on_every_device(|device| {
                let logits = rows(&[[1.0, 2.0], bad].concat(), 2, device);
                let error = logits.sample(&sampler, Rng::new(0), &[place(0, 0); 2]).unwrap_err();
                assert_eq!(error.kind(), Kind::Diverged);
                assert!(error.to_string().contains("row 1"), "{error}");
            });
        }
    }
}

#[test]
fn impossible_options_are_refused() {
    for (temperature, top_p) in [(-0.1, 1.0), (f32::NAN, 1.0), (f32::INFINITY, 1.0)] {
        let error = Sampler::new(temperature, 0, top_p).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().starts_with("temperature: expected"), "{error}");
    }
    for top_p in [0.0, -1.0, 1.01, f32::NAN] {
        let error = Sampler::new(1.0, 0, top_p).unwrap_err();
        assert!(error.to_string().starts_with("top-p: expected"), "{error}");
    }
    let logits = rows(&[1.0, 2.0], 1, Device::Cpu);
    assert!(logits.sample(&Sampler::GREEDY, Rng::new(0), &[]).is_err());
    assert!(logits.sample(&Sampler::GREEDY.below(0), Rng::new(0), &[place(0, 0)]).is_err());
}
