//! Every operation of the engine at a shape drawn at random: what [`check`](super::check) computes.
//!
//! A case names the family, its folder in `ops/`; a test sees to it that each folder has one.

use super::computation::{Computation, Graph, Training, Update, normals};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::adamw::AdamW;
use crate::ops::attention::{Attention, KeyValues};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::dropout::Dropout;
use crate::ops::linear::Activation;
use crate::ops::sample::{Place, Sampler};
use crate::random::Rng;
use crate::tensor::{Device, Tensor};
use std::rc::Rc;

/// Numbers of the host, from which tensors are made on each device in each storage dtype.
#[derive(Clone)]
pub enum Value {
    Floats(Vec<usize>, Rc<[f32]>),
    Ids(Vec<usize>, Rc<[u32]>),
}

/// One operation at one shape.
pub struct Case {
    /// Its folder in `ops/`.
    pub family: &'static str,
    pub operation: String,
    /// Of its inputs.
    pub shape: String,
    prepare: Prepare,
}

type Prepare = Box<dyn Fn(Device, DType) -> Result<Box<dyn Computation>>>;

impl Case {
    pub fn prepare(&self, device: Device, dtype: DType) -> Result<Box<dyn Computation>> {
        (self.prepare)(device, dtype)
    }
}

/// The cases under construction, and the numbers drawn for them.
struct Cases {
    rng: Rng,
    /// How many draws were made.
    draws: u64,
    made: Vec<Case>,
}

/// Every operation at a small odd shape, always the same for a seed.
pub fn all(seed: u64) -> Vec<Case> {
    let mut cases = Cases { rng: Rng::new(seed), draws: 0, made: Vec::new() };
    let [rows, width] = [cases.odd(40), cases.odd(300)];
    elementwise(&mut cases, rows * width);
    binary(&mut cases);
    layout(&mut cases);
    reductions(&mut cases);
    lookups(&mut cases);
    products(&mut cases);
    let [rows, width] = [cases.odd(40), cases.odd(300)];
    norms(&mut cases, rows, width);
    // Tensor cores take the even sizes.
    for head_dim in [cases.odd(80), 64, 128] {
        let dims = [2, cases.odd(140), 2, head_dim];
        attention(&mut cases, dims);
    }
    let dims = [cases.odd(3), cases.odd(300), cases.odd(3), cases.odd(80)];
    decoding(&mut cases, dims);
    let dims = [cases.odd(5), cases.odd(9), cases.odd(30), cases.odd(40)];
    recurrent(&mut cases, dims);
    let [rows, width, vocab] = [cases.odd(40), cases.odd(70), cases.odd(1000)];
    losses(&mut cases, rows, width, vocab);
    let numbers = cases.odd(5000);
    optimiser(&mut cases, numbers);
    cases.add("train", "4 steps of a GPT-2", "[3, 33]", |device, dtype| {
        Ok(Box::new(Training::new(device, dtype)?))
    });
    cases.made
}

/// What a transformer spends its time on, at sizes that fill a card.
pub fn large(seed: u64) -> Vec<Case> {
    let mut cases = Cases { rng: Rng::new(seed), draws: 0, made: Vec::new() };
    let n = (1 << 23) + 1;
    cases.unary("gelu", Draw::Normal, &[n], Tensor::gelu);
    cases
        .graph("binary", "add", &[(Draw::Normal, &[n]), (Draw::Normal, &[n])], |x| x[0].add(&x[1]));
    cases.graph("layout", "permute", &[(Draw::Normal, &[1025, 63, 129])], |x| {
        x[0].permute(&[2, 0, 1])
    });
    cases.graph("reduce", "sum", &[(Draw::Normal, &[8193, 1023])], |x| x[0].sum(1, false));
    cases.graph("softmax", "softmax", &[(Draw::Normal, &[8193, 1023])], |x| x[0].softmax(1));
    norms(&mut cases, 8193, 768);
    cases.graph(
        "linear",
        "linear",
        &[(Draw::Normal, &[1024, 768]), (Draw::Small, &[3072, 768]), (Draw::Normal, &[3072])],
        |x| x[0].linear(&x[1], Some(&x[2]), Activation::GeluTanh),
    );
    attention(&mut cases, [2, 1024, 12, 64]);
    losses(&mut cases, 128, 768, 50257);
    optimiser(&mut cases, n);
    cases.made
}

/// How the numbers of an input are drawn.
#[derive(Clone, Copy)]
enum Draw {
    Normal,
    /// A fortieth of it, as weights are.
    Small,
    /// Half and more.
    Positive,
    /// Below this.
    Ids(usize),
    /// [batch, time]: the first key of a row's document, a quarter of the way before it.
    FirstKeys,
}

impl Cases {
    fn words(&mut self) -> Rng {
        self.draws += 1;
        Rng { attempt: self.draws, ..self.rng }
    }

    /// An odd number between a third of `limit` and all of it.
    fn odd(&mut self, limit: usize) -> usize {
        let rng = self.words();
        let range = limit - limit / 3;
        (limit / 3 + rng.words(rng.key(1), 0)[0] as usize % range) | 1
    }

    fn value(&mut self, draw: Draw, dims: &[usize]) -> Value {
        let n = dims.iter().product();
        let rng = self.words();
        let floats = |f: fn(f32) -> f32| {
            Value::Floats(dims.into(), normals(n, rng).into_iter().map(f).collect())
        };
        let ids = |f: &dyn Fn(usize) -> u32| Value::Ids(dims.into(), (0..n).map(f).collect());
        match draw {
            Draw::Normal => floats(|x| x),
            Draw::Small => floats(|x| x / 40.0),
            Draw::Positive => floats(|x| x.abs() + 0.5),
            Draw::Ids(below) => ids(&|i| rng.words(rng.key(2), i as u64)[0] % below as u32),
            Draw::FirstKeys => ids(&|i| {
                let (time, place) = (dims[1], i % dims[1]);
                (place - place % time.div_ceil(4)) as u32
            }),
        }
    }

    fn add(
        &mut self,
        family: &'static str,
        operation: impl Into<String>,
        shape: impl Into<String>,
        prepare: impl Fn(Device, DType) -> Result<Box<dyn Computation>> + 'static,
    ) {
        let (operation, shape) = (operation.into(), shape.into());
        self.made.push(Case { family, operation, shape, prepare: Box::new(prepare) });
    }

    /// An operation on inputs drawn anew.
    fn graph(
        &mut self,
        family: &'static str,
        operation: impl Into<String>,
        inputs: &[(Draw, &[usize])],
        forward: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) {
        let shapes: Vec<String> = inputs.iter().map(|(_, dims)| format!("{dims:?}")).collect();
        let values: Vec<Value> =
            inputs.iter().map(|&(draw, dims)| self.value(draw, dims)).collect();
        let forward = Rc::new(forward);
        self.add(family, operation, shapes.join(" "), move |device, dtype| {
            Ok(Box::new(Graph::new(&values, forward.clone(), device, dtype)?))
        });
    }

    fn unary(
        &mut self,
        operation: &str,
        draw: Draw,
        dims: &[usize],
        function: impl Fn(&Tensor) -> Result<Tensor> + 'static,
    ) {
        self.graph("elementwise", operation, &[(draw, dims)], move |x| function(&x[0]));
    }
}

fn elementwise(cases: &mut Cases, n: usize) {
    type Function = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Draw, Function); 20] = [
        ("abs", Draw::Normal, Tensor::abs),
        ("exp", Draw::Normal, Tensor::exp),
        ("ln", Draw::Positive, Tensor::ln),
        ("sqrt", Draw::Positive, Tensor::sqrt),
        ("rsqrt", Draw::Positive, Tensor::rsqrt),
        ("recip", Draw::Positive, Tensor::recip),
        ("square", Draw::Normal, Tensor::square),
        ("sin", Draw::Normal, Tensor::sin),
        ("cos", Draw::Normal, Tensor::cos),
        ("tanh", Draw::Normal, Tensor::tanh),
        ("sigmoid", Draw::Normal, Tensor::sigmoid),
        ("relu", Draw::Normal, Tensor::relu),
        ("silu", Draw::Normal, Tensor::silu),
        ("erf", Draw::Normal, Tensor::erf),
        ("gelu", Draw::Normal, Tensor::gelu),
        ("gelu_erf", Draw::Normal, Tensor::gelu_erf),
        ("neg", Draw::Normal, Tensor::neg),
        ("add_scalar", Draw::Normal, |x| x.add_scalar(0.75)),
        ("mul_scalar", Draw::Normal, |x| x.mul_scalar(-1.5)),
        ("pow_scalar", Draw::Positive, |x| x.pow_scalar(1.5)),
    ];
    for (name, draw, function) in functions {
        cases.unary(name, draw, &[n], function);
    }
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let to = move |x: &[Tensor]| x[0].cast(dtype);
        cases.graph("cast", format!("cast to {dtype}"), &[(Draw::Normal, &[n])], to);
    }
    cases.graph("dropout", "dropout", &[(Draw::Normal, &[3, n])], |x| {
        x[0].clone().dropout(Dropout::new(0.25, Rng::new(1), 2)?)
    });
}

fn binary(cases: &mut Cases) {
    type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let [rows, width] = [cases.odd(40), cases.odd(300)];
    let functions: [(&str, Function); 6] = [
        ("add", Tensor::add),
        ("sub", Tensor::sub),
        ("mul", Tensor::mul),
        ("div", Tensor::div),
        ("maximum", Tensor::maximum),
        ("minimum", Tensor::minimum),
    ];
    for (name, function) in functions {
        let inputs: [(Draw, &[usize]); 2] =
            [(Draw::Normal, &[3, rows, 1]), (Draw::Positive, &[rows, width])];
        cases.graph("binary", name, &inputs, move |x| function(&x[0], &x[1]));
    }
    let comparisons: [(&str, Function); 6] = [
        ("eq", Tensor::eq),
        ("ne", Tensor::ne),
        ("lt", Tensor::lt),
        ("le", Tensor::le),
        ("gt", Tensor::gt),
        ("ge", Tensor::ge),
    ];
    for (name, function) in comparisons {
        let inputs: [(Draw, &[usize]); 2] =
            [(Draw::Ids(3), &[rows, width]), (Draw::Ids(3), &[width])];
        cases.graph("compare", name, &inputs, move |x| function(&x[0], &x[1]));
    }
    let inputs: [(Draw, &[usize]); 3] =
        [(Draw::Ids(2), &[rows, 1]), (Draw::Normal, &[rows, width]), (Draw::Normal, &[width])];
    cases.graph("compare", "select", &inputs, |x| x[0].select(&x[1], &x[2]));
}

fn layout(cases: &mut Cases) {
    let [a, b, c] = [cases.odd(9), cases.odd(30), cases.odd(50)];
    let x: [(Draw, &[usize]); 1] = [(Draw::Normal, &[a, b, c])];
    let two: [(Draw, &[usize]); 2] = [(Draw::Normal, &[a, b, c]), (Draw::Normal, &[a, b, c])];
    cases.graph("layout", "permute", &x, |x| x[0].permute(&[2, 0, 1]));
    cases.graph("layout", "narrow", &x, move |x| x[0].narrow(1, b / 2, b - b / 2));
    cases.graph("layout", "broadcast_to", &x, move |x| x[0].broadcast_to(&[2, a, b, c]));
    cases.graph("layout", "concat", &two, |x| Tensor::concat(&[&x[0], &x[1]], 1));
    cases.graph("layout", "stack", &two, |x| Tensor::stack(&[&x[0], &x[1]], 2));
}

fn reductions(cases: &mut Cases) {
    type Function = fn(&Tensor) -> Result<Tensor>;
    let dims = [cases.odd(9), cases.odd(30), cases.odd(50)];
    let functions: [(&str, &str, Function); 14] = [
        ("reduce", "sum", |x| x.sum(1, false)),
        ("reduce", "mean", |x| x.mean(2, true)),
        ("reduce", "sum_all", Tensor::sum_all),
        ("reduce", "mean_all", Tensor::mean_all),
        ("reduce", "sum_to", |x| x.sum_to(&[x.dims()[1], 1])),
        ("extremum", "max", |x| x.max(1, false)),
        ("extremum", "min", |x| x.min(2, true)),
        ("extremum", "max_all", Tensor::max_all),
        ("extremum", "min_all", Tensor::min_all),
        ("extremum", "argmax", |x| x.argmax(2)),
        ("extremum", "argmin", |x| x.argmin(0)),
        ("softmax", "softmax", |x| x.softmax(2)),
        ("softmax", "softmax of columns", |x| x.softmax(1)),
        ("softmax", "log_softmax", |x| x.log_softmax(2)),
    ];
    for (family, name, function) in functions {
        cases.graph(family, name, &[(Draw::Normal, &dims)], move |x| function(&x[0]));
    }
}

fn lookups(cases: &mut Cases) {
    let [rows, width, vocab] = [cases.odd(40), cases.odd(100), cases.odd(60)];
    let inputs: [(Draw, &[usize]); 4] = [
        (Draw::Normal, &[vocab, width]),
        (Draw::Ids(vocab), &[2, rows]),
        (Draw::Normal, &[rows, width]),
        (Draw::Ids(rows), &[2, rows]),
    ];
    cases.graph("embedding", "embedding", &inputs, |x| x[0].embedding(&x[1], Some((&x[2], &x[3]))));
    let inputs: [(Draw, &[usize]); 2] =
        [(Draw::Normal, &[3, vocab, width]), (Draw::Ids(vocab), &[rows])];
    cases.graph("index", "index_select", &inputs, |x| x[0].index_select(1, &x[1]));
    let inputs: [(Draw, &[usize]); 2] =
        [(Draw::Normal, &[3, vocab, width]), (Draw::Ids(vocab), &[3, rows, width])];
    cases.graph("index", "gather", &inputs, |x| x[0].gather(1, &x[1]));
    let samplers = [("greedy", [0.0, 0.0, 1.0]), ("top-k, top-p", [0.8, 20.0, 0.9])];
    for (name, [temperature, top_k, top_p]) in samplers {
        let logits: [(Draw, &[usize]); 1] = [(Draw::Normal, &[rows, vocab])];
        cases.graph("sample", format!("sample, {name}"), &logits, move |x| {
            let place = |row: usize| Place { sequence: row as u32, position: 7 };
            let places: Vec<Place> = (0..x[0].dims()[0]).map(place).collect();
            let sampler = Sampler::new(temperature, top_k as usize, top_p)?;
            x[0].detach().sample(&sampler, Rng::new(3), &places)
        });
    }
}

fn products(cases: &mut Cases) {
    let [rows, inner, outer] = [cases.odd(70), cases.odd(130), cases.odd(90)];
    let inputs: [(Draw, &[usize]); 2] =
        [(Draw::Normal, &[3, 1, rows, inner]), (Draw::Normal, &[2, inner, outer])];
    cases.graph("matmul", "matmul", &inputs, |x| x[0].matmul(&x[1]));
    let inputs: [(Draw, &[usize]); 3] =
        [(Draw::Normal, &[rows, inner]), (Draw::Normal, &[outer, inner]), (Draw::Normal, &[outer])];
    for (name, activation) in [
        ("linear", Activation::Identity),
        ("linear, gelu", Activation::GeluTanh),
        ("linear, gelu_erf", Activation::GeluErf),
    ] {
        cases.graph("linear", name, &inputs, move |x| x[0].linear(&x[1], Some(&x[2]), activation));
    }
    cases.graph("linear", "linear_f32", &inputs[..2], |x| x[0].linear_f32(&x[1]));
}

fn norms(cases: &mut Cases, rows: usize, width: usize) {
    let inputs: [(Draw, &[usize]); 4] = [
        (Draw::Normal, &[rows, width]),
        (Draw::Normal, &[width]),
        (Draw::Normal, &[width]),
        (Draw::Normal, &[rows, width]),
    ];
    cases.graph("layer_norm", "layer_norm", &inputs[..3], |x| x[0].layer_norm(&x[1], &x[2], 1e-5));
    cases.graph("layer_norm", "residual_layer_norm", &inputs, |x| {
        let stream = x[3].cast(DType::F32)?;
        let (sum, y) = stream.residual_layer_norm(&x[0], &x[1], &x[2], 1e-5)?;
        sum.add(&y.cast(DType::F32)?)
    });
}

/// [batch, time, heads, head_dim].
fn attention(cases: &mut Cases, [batch, time, heads, head_dim]: [usize; 4]) {
    let plain = Attention { scale: 1.0 / (head_dim as f32).sqrt(), alibi: false, dropout: None };
    let inputs: [(Draw, &[usize]); 2] =
        [(Draw::Normal, &[batch, time, 3, heads, head_dim]), (Draw::FirstKeys, &[batch, time])];
    cases.graph("attention", "attention", &inputs, move |x| x[0].attention(&x[1], plain));
    cases.graph("attention", "attention, alibi, dropout", &inputs, move |x| {
        let dropout = Some(Dropout::new(0.1, Rng::new(4), 5)?);
        x[0].attention(&x[1], Attention { alibi: true, dropout, ..plain })
    });
    cases.graph("attention", "attention_probs", &inputs, move |x| {
        x[0].detach().attention_probs(&x[1], plain)
    });
}

fn decoding(cases: &mut Cases, [batch, time, heads, head_dim]: [usize; 4]) {
    let options = Attention { scale: 0.1, alibi: false, dropout: None };
    let inputs: [(Draw, &[usize]); 4] = [
        (Draw::Normal, &[batch, time, 3, heads, head_dim]),
        (Draw::FirstKeys, &[batch, time]),
        (Draw::Normal, &[batch, 1, 3, heads, head_dim]),
        (Draw::Ids(time), &[batch, 1]),
    ];
    cases.graph("attention", "cached_attention", &inputs, move |x| {
        let (prompt, next) = (x[0].detach(), x[2].detach());
        let sizes = [batch, heads, time + 1, head_dim];
        let mut cache = KeyValues::new(sizes, prompt.dtype(), prompt.device())?;
        let first = prompt.cached_attention(&mut cache, &x[1], options)?;
        let second = next.cached_attention(&mut cache, &x[3], options)?;
        Tensor::concat(&[&first, &second], 1)
    });
}

/// [batch, time, input, hidden].
fn recurrent(cases: &mut Cases, [batch, time, input, hidden]: [usize; 4]) {
    let inputs: [(Draw, &[usize]); 8] = [
        (Draw::Normal, &[batch, time, input]),
        (Draw::Small, &[4 * hidden, input]),
        (Draw::Small, &[4 * hidden, hidden]),
        (Draw::Normal, &[4 * hidden]),
        (Draw::Normal, &[4 * hidden]),
        (Draw::Normal, &[batch, hidden]),
        (Draw::Normal, &[batch, hidden]),
        // Positions, one in three of them a beginning.
        (Draw::Ids(3), &[batch, time]),
    ];
    cases.graph("lstm", "lstm", &inputs, |x| {
        let cell = x[6].cast(DType::F32)?;
        let state = (&x[5], &cell);
        let (y, (h, c)) = x[0].lstm(&x[1], &x[2], &x[3], &x[4], state, Some(&x[7]))?;
        let last = h.cast(DType::F32)?.add(&c)?.unsqueeze(1)?;
        Tensor::concat(&[&y.cast(DType::F32)?, &last], 1)
    });
}

fn losses(cases: &mut Cases, rows: usize, width: usize, vocab: usize) {
    let inputs: [(Draw, &[usize]); 3] = [
        (Draw::Normal, &[rows, width]),
        (Draw::Normal, &[vocab, width]),
        (Draw::Ids(vocab), &[rows]),
    ];
    for (name, chunk) in [("whole", rows), ("in chunks", rows.div_ceil(3))] {
        let options = CrossEntropy { targets: rows, chunk };
        let operation = format!("linear_cross_entropy, {name}");
        cases.graph("cross_entropy", operation, &inputs, move |x| {
            // The sum over rows and not their mean, whose gradients the bounds would not see.
            x[0].linear_cross_entropy(&x[1], &x[2], options)?.mul_scalar(rows as f32)
        });
    }
}

fn optimiser(cases: &mut Cases, n: usize) {
    let [weights, gradient] = [(); 2].map(|()| cases.value(Draw::Normal, &[n]));
    for (family, rule) in [("grad_norm", None), ("adamw", Some(AdamW::default()))] {
        let (weights, gradient) = (weights.clone(), gradient.clone());
        cases.add(family, family, format!("[{n}]"), move |device, dtype| {
            Ok(Box::new(Update::new(&weights, &gradient, rule, device, dtype)?))
        });
    }
}
