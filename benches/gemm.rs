//! The matrix product at the shapes of training (256 and 1024 tokens through GPT-2's layers and its
//! vocabulary) and of decoding, in the three layouts that a linear layer needs.
//!
//! `cargo bench --bench gemm -- 1024x768x3072` for one shape; `RAYON_NUM_THREADS` sets the threads.

use copla::cpu::{Mat, MatMut, gemm};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// m × k × n: C [m, n] = A [m, k] · B [k, n].
const SHAPES: [(usize, usize, usize); 7] = [
    (256, 768, 768),
    (256, 768, 3072),
    (1024, 768, 3072),
    (1024, 3072, 768),
    (1024, 768, 50_257),
    (1, 768, 3072),
    (1, 768, 50_257),
];

fn products(criterion: &mut Criterion) {
    for (m, k, n) in SHAPES {
        let a: Vec<f32> = (0..m * k).map(|i| (i % 97) as f32 - 48.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i % 89) as f32 - 44.0).collect();
        let mut c = vec![0.0; m * n];
        // Forward x·Wᵀ, gradient of the input dy·W, gradient of the weight dyᵀ·x.
        let layouts = [
            ("NT", Mat::new(&a, m, k), Mat::new(&b, n, k).t()),
            ("NN", Mat::new(&a, m, k), Mat::new(&b, k, n)),
            ("TN", Mat::new(&a, k, m).t(), Mat::new(&b, k, n)),
        ];
        let mut group = criterion.benchmark_group(format!("gemm/{m}x{k}x{n}"));
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64)).sample_size(10);
        for (layout, a, b) in layouts {
            group.bench_function(layout, |bencher| {
                bencher.iter(|| gemm(1.0, a, b, 0.0, MatMut::new(&mut c, m, n)));
            });
        }
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
