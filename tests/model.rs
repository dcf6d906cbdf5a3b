//! A model is right: logits, loss, every gradient and ten AdamW steps against `transformers` in
//! float64, and the whole model's slope against its own loss.

use copla::formats::safetensors::Weights;
use copla::formats::stored::StoredTensor;
use copla::inspect::{Depth, inspect};
use copla::models::{Input, Model, Use, gpt2, in_file_layout, load};
use copla::nn::{Pass, Probe};
use copla::ops::adamw::{AdamW, Moments, StepState};
use copla::ops::cross_entropy::CrossEntropy;
use copla::random::{Rng, normal_pair};
use copla::text::IGNORE;
use copla::{DType, Device, Gradients, Param, Parameters, Result, Tensor, backward};
use golden::FAMILIES;

mod golden;

fn golden(family: &str, file: &str) -> Weights {
    Weights::open(&golden::dir(family).join(file)).unwrap()
}

/// A whole model: |x − reference| ≤ 5e-6 + 1e-5·max|reference| of that tensor, ten times what f32
/// loses in this one and far below what a wrong term would change.
const OF_LARGEST: f64 = 1e-5;

fn assert_close(what: &str, found: &Tensor, expected: &StoredTensor) {
    assert_eq!(found.dims(), expected.shape, "{what}: shape");
    let (found, expected) = (found.read().unwrap(), expected.to_f32().unwrap());
    assert_values_close(what, &found, &expected);
}

fn assert_values_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |most, x| f64::max(most, f64::from(x.abs())));
    let bound = 5e-6 + OF_LARGEST * largest;
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*x) - f64::from(*y)).abs();
        assert!(difference <= bound, "{what}[{i}]: expected {y}, found {x} (bound {bound:.1e})");
    }
}

/// A model with room for gradients, and a batch whose next tokens it is to foretell.
struct Setup {
    model: Box<dyn Model>,
    params: Parameters,
    grads: Gradients,
    input: Input,
    targets: Tensor,
    count: usize,
}

impl Setup {
    fn new(model: Box<dyn Model>, params: Parameters, ids: &[u32], rows: usize) -> Self {
        let grads = Gradients::new(&params).unwrap();
        let time = ids.len() / rows;
        let input = Input::rows(ids, rows, params.device()).unwrap();
        let next = |row: &[u32]| [&row[1..], &[IGNORE]].concat();
        let targets: Vec<u32> = ids.chunks(time).flat_map(next).collect();
        let targets = Tensor::from_slice(&targets, &[rows, time], params.device()).unwrap();
        Setup { model, params, grads, input, targets, count: rows * (time - 1) }
    }

    /// `transformers`' model and its batch of two rows.
    fn golden(family: &str) -> Self {
        let dir = golden::dir(family);
        let (model, params) = load(&dir, Use::Training, DType::F32, Device::Cpu).unwrap();
        let expected = golden(family, "expected.safetensors");
        let ids = expected.get("token_ids").unwrap().to_u32().unwrap();
        Setup::new(model, params, &ids, 2)
    }

    fn hidden(&self) -> Tensor {
        self.model.hidden(&self.input, &mut Pass::new(&self.params)).unwrap()
    }

    fn loss_in_chunks_of(&self, chunk: usize) -> Tensor {
        let options = CrossEntropy { targets: self.count, chunk };
        let pass = &mut Pass::new(&self.params);
        self.model.loss(&self.hidden(), &self.targets, options, pass).unwrap()
    }

    fn loss(&self) -> Tensor {
        self.loss_in_chunks_of(usize::MAX)
    }

    fn backward(&mut self, loss: Tensor) {
        self.grads.clear();
        let seed = Tensor::scalar(1.0, self.params.device()).unwrap();
        backward(loss, seed, &mut self.grads).unwrap();
        self.grads.require_all().unwrap();
    }

    fn names(&self) -> Vec<(Param, String)> {
        self.params.segments().map(|(param, segment)| (param, segment.name.clone())).collect()
    }

    /// A tensor of every parameter, such as its gradient, as the Hugging Face file has it.
    fn in_file(&self, tensor: impl Fn(Param) -> Tensor) -> Vec<(String, Tensor)> {
        let parts = |(param, name): &(Param, String)| {
            in_file_layout(name, &*self.model, &tensor(*param)).unwrap()
        };
        self.names().iter().flat_map(parts).collect()
    }
}

#[derive(Default)]
struct Recorder(Vec<(String, Tensor)>);

impl Probe for Recorder {
    fn wants(&self, _site: &str) -> bool {
        true
    }

    fn visit(&mut self, site: &str, x: Tensor) -> Result<Tensor> {
        self.0.push((site.into(), x.detach()));
        Ok(x)
    }
}

#[test]
fn logits_hidden_states_and_attention_are_those_of_transformers() {
    FAMILIES.iter().for_each(|family| logits_are_those_of_transformers(family));
}

fn logits_are_those_of_transformers(family: &str) {
    let (setup, expected) = (Setup::golden(family), golden(family, "expected.safetensors"));
    let mut recorder = Recorder::default();
    let mut pass = Pass { probe: Some(&mut recorder), ..Pass::new(&setup.params) };
    let hidden = setup.model.hidden(&setup.input, &mut pass).unwrap();
    let logits = setup.model.logits(&hidden, &mut pass).unwrap();
    let (found, reference) = (logits.read().unwrap(), expected.get("logits").unwrap());
    assert_eq!(logits.dims(), reference.shape);
    for (x, y) in found.iter().zip(reference.to_f32().unwrap()) {
        assert!((x - y).abs() <= 1e-4, "logits: expected {y}, found {x}");
    }
    let sites: Vec<&str> = recorder.0.iter().map(|(site, _)| site.as_str()).collect();
    let looked_at = |name: &&str| name.starts_with("hidden.") || name.starts_with("attention.");
    assert_eq!(sites.len(), expected.names().filter(looked_at).count(), "{sites:?}");
    for (site, x) in &recorder.0 {
        assert_close(site, x, &expected.get(site).unwrap());
    }
}

/// And with a head of its own, in every family.
#[test]
fn an_untied_head_is_that_of_transformers() {
    for family in &FAMILIES[..3] {
        let dir = golden::dir(family).with_file_name("untied").join(family);
        let (model, params) = load(&dir, Use::Inference, DType::F32, Device::Cpu).unwrap();
        let expected = Weights::open(&dir.join("expected.safetensors")).unwrap();
        let ids = expected.get("token_ids").unwrap().to_u32().unwrap();
        let found = inspect(&*model, &params, &ids, Depth::Logits).unwrap();
        assert_close(family, &found.logits, &expected.get("logits").unwrap());
    }
}

#[test]
fn the_loss_and_every_gradient_are_those_of_transformers() {
    FAMILIES.iter().for_each(|family| gradients_are_those_of_transformers(family));
}

fn gradients_are_those_of_transformers(family: &str) {
    let mut setup = Setup::golden(family);
    let reference = golden(family, "expected.safetensors").get("loss").unwrap().to_f32().unwrap();
    let gradients = golden(family, "expected_gradients.safetensors");
    // In one chunk, whose logits are kept, and in chunks whose logits are made again.
    for chunk in [usize::MAX, 7, 1] {
        let loss = setup.loss_in_chunks_of(chunk);
        let value = loss.item().unwrap();
        assert!((value - reference[0]).abs() <= 1e-5, "loss {value} for {}", reference[0]);
        setup.backward(loss);
        let found = setup.in_file(|param| setup.grads.get(param).unwrap());
        assert_eq!(found.len(), gradients.names().len());
        for (name, grad) in found {
            let key = format!("grad.{name}");
            assert_close(&key, &grad, &gradients.get(&key).unwrap());
        }
    }
}

#[test]
fn ten_steps_of_adamw_are_those_of_torch() {
    FAMILIES.iter().for_each(|family| ten_steps_are_those_of_torch(family));
}

fn ten_steps_are_those_of_torch(family: &str) {
    let mut setup = Setup::golden(family);
    let expected = golden(family, "expected_adamw.safetensors");
    let losses = expected.get("adamw.losses").unwrap().to_f32().unwrap();
    let norms = expected.get("grad_norms").unwrap().to_f32().unwrap();
    let (learning_rate, steps) = (1e-3, norms.len());
    let rule = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    let mut moments = Moments::new(&setup.params).unwrap();
    for i in 0..steps {
        let loss = setup.loss();
        let value = loss.item().unwrap();
        assert!((value - losses[i]).abs() <= 1e-4, "step {i}: {} and {value}", losses[i]);
        setup.backward(loss);
        let norm = setup.grads.norm().unwrap();
        let value = norm.item().unwrap();
        assert!((value / norms[i] - 1.0).abs() <= 1e-4, "step {i}: norms {} and {value}", norms[i]);
        let step = i as u64 + 1;
        let state = StepState { step, learning_rate, max_grad_norm: 1.0, loss_scale: 1.0 };
        rule.step(&mut setup.params, &setup.grads, &mut moments, &norm, state).unwrap();
    }
    let last = setup.loss().item().unwrap();
    assert!((last - losses[steps]).abs() <= 1e-4, "at the end {} and {last}", losses[steps]);
    let gradients = golden(family, "expected_gradients.safetensors");
    for (name, values) in setup.in_file(|param| setup.params.get(param)) {
        let found = values.read().unwrap();
        let reference = expected.get(&format!("adamw.params.{name}")).unwrap().to_f32().unwrap();
        let gradient = gradients.get(&format!("grad.{name}")).unwrap().to_f32().unwrap();
        // AdamW makes whole steps of a gradient's sign, which f32 does not know where the gradient is
        // rounding: as of the bias of keys, since a softmax does not change when all scores grow alike.
        // (A row of a table that is not read has none at all.)
        let unread = |i: usize| gradient[i] == 0.0 && values.dims().len() == 2;
        let is_known = |i: usize| gradient[i].abs() > LEAST_GRADIENT || unread(i);
        let (known, unknown): (Vec<_>, Vec<_>) = (0..found.len()).partition(|&i| is_known(i));
        let bound = 2.0 * steps as f32 * learning_rate;
        for &i in &unknown {
            assert!((found[i] - reference[i]).abs() <= bound, "{family}: {name}[{i}]");
        }
        let of_known = |x: &[f32]| known.iter().map(|&i| x[i]).collect::<Vec<_>>();
        assert_values_close(&name, &of_known(&found), &of_known(&reference));
        let most = if name.ends_with("bias") { found.len() / 3 } else { found.len() / 300 };
        assert!(unknown.len() <= most, "{family}: {} of {name} are unknown", unknown.len());
    }
}

/// Where rounding in f32 may be a tenth of a gradient, whose largest element is about 0.1.
const LEAST_GRADIENT: f32 = 1e-6;

#[test]
fn an_inspection_is_what_transformers_would_show() {
    FAMILIES.iter().for_each(|family| an_inspection_is_what_transformers_shows(family));
}

fn an_inspection_is_what_transformers_shows(family: &str) {
    let (setup, expected) = (Setup::golden(family), golden(family, "expected.safetensors"));
    let ids = expected.get("token_ids").unwrap().to_u32().unwrap();
    let (row, time) = (&ids[..23], 23);
    let found = inspect(&*setup.model, &setup.params, row, Depth::Gradients).unwrap();
    // The first of the two rows: no padding, so what stands beside it in a batch does not matter.
    let first = |name: &str| -> Vec<f32> {
        let stored = expected.get(name).unwrap();
        let all = stored.to_f32().unwrap();
        all[..all.len() / stored.shape[0]].to_vec()
    };
    assert_eq!(found.token_ids.to_vec::<u32>().unwrap(), row);
    assert_eq!(found.logits.dims(), [1, time, 97]);
    assert_values_close("logits", &found.logits.read().unwrap(), &first("logits"));
    for (site, x) in &found.sites {
        assert_values_close(site, &x.read().unwrap(), &first(site));
    }
    // The dump holds the same, under the names that the golden file has.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.safetensors");
    assert_eq!(found.dump(&path).unwrap(), Weights::open(&path).unwrap().names().len());
    let dump = Weights::open(&path).unwrap();
    for name in expected.names().filter(|name| *name != "greedy") {
        assert!(dump.contains(name), "{name}");
    }
    let weights = golden(family, "model.safetensors");
    for name in weights.names() {
        let stored = dump.get(&format!("grad.{name}")).unwrap();
        assert_eq!(stored.shape, weights.get(name).unwrap().shape, "{name}");
    }
    assert!(found.loss.unwrap().is_finite());
    // Greedy text begins with the likeliest token after the prompt's seven.
    let greedy = expected.get("greedy").unwrap().to_u32().unwrap();
    assert_eq!(found.predictions().unwrap()[6].0, greedy[0]);
    let surface = inspect(&*setup.model, &setup.params, row, Depth::Logits).unwrap();
    assert!(surface.sites.is_empty() && surface.loss.is_none() && surface.gradients.is_empty());
    for (ids, recurrent, words) in [
        (&[][..], false, "1 to 40 tokens, found 0"),
        (&[1; 41], false, "1 to 40 tokens, found 41"),
        (&[], true, "1 or more tokens, found 0"),
        (&[96, 97], setup.model.is_recurrent(), "one below the model's 97, found 97"),
    ] {
        if recurrent != setup.model.is_recurrent() {
            continue;
        }
        let error = inspect(&*setup.model, &setup.params, ids, Depth::Sites).err().unwrap();
        assert!(error.to_string().ends_with(words), "{error}");
    }
    let single = inspect(&*setup.model, &setup.params, &[1], Depth::Gradients).err().unwrap();
    let most = if setup.model.is_recurrent() { "or more tokens" } else { "to 40 tokens" };
    assert!(single.to_string().ends_with(&format!("2 {most}, found 1")), "{single}");
}

/// A model large enough that its work is cut among threads.
fn medium() -> Setup {
    let options = gpt2::preset("nano", 300).unwrap();
    let model = gpt2::Gpt2::new(options, Some(0)).unwrap();
    let mut params = model.layout().unwrap().build(DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 3).unwrap();
    let rng = Rng::new(4);
    let ids: Vec<u32> = (0..3 * 65).map(|i| rng.words(rng.key(0), i)[0] % 300).collect();
    Setup::new(Box::new(model), params, &ids, 3)
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let on = |threads: usize| -> (u32, Vec<u32>) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut setup = medium();
            let loss = setup.loss();
            let value = loss.item().unwrap().to_bits();
            setup.backward(loss);
            let gradients = setup.grads.sums().read().unwrap();
            (value, gradients.iter().map(|x| x.to_bits()).collect())
        })
    };
    let one = on(1);
    assert!(one.1.iter().filter(|&&bits| bits != 0).count() > one.1.len() / 2);
    for threads in [2, 3] {
        let several = on(threads);
        assert_eq!(one.0, several.0, "loss on {threads} threads");
        assert!(one.1 == several.1, "gradients on {threads} threads");
    }
}

/// The loss along a direction in all parameters at once, against ⟨gradient, direction⟩: no reference
/// but the forward pass itself.
#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    FAMILIES.iter().for_each(|family| the_gradient_is_the_slope(family));
}

fn the_gradient_is_the_slope(family: &str) {
    let mut setup = Setup::golden(family);
    let loss = setup.loss();
    setup.backward(loss);
    let values: Vec<(Param, Vec<f32>, Vec<f32>)> = setup
        .names()
        .iter()
        .map(|(param, _)| {
            let gradient = setup.grads.get(*param).unwrap().to_vec::<f32>().unwrap();
            (*param, setup.params.get(*param).to_vec::<f32>().unwrap(), gradient)
        })
        .collect();
    for trial in 0..4 {
        let rng = Rng::new(trial);
        let normal = |site: usize, i: usize| {
            let w = rng.words(rng.key(site as u64), i as u64);
            normal_pair(w[0], w[1]).0
        };
        // The gradient itself, then random directions, each with as long a step.
        let mut directions: Vec<Vec<f32>> = values
            .iter()
            .enumerate()
            .map(|(site, (_, x, gradient))| match trial {
                0 => gradient.clone(),
                _ => (0..x.len()).map(|i| normal(site, i)).collect(),
            })
            .collect();
        let square = |x: &f32| f64::from(*x) * f64::from(*x);
        let length = directions.iter().flatten().map(square).sum::<f64>().sqrt();
        directions.iter_mut().flatten().for_each(|d| *d = (f64::from(*d) / length) as f32);
        let slope: f64 = values
            .iter()
            .zip(&directions)
            .flat_map(|((_, _, gradient), direction)| gradient.iter().zip(direction))
            .map(|(g, d)| f64::from(*g) * f64::from(*d))
            .sum();
        let h = if trial == 0 { 1e-2 } else { 5e-2 };
        let mut at = |h: f32| -> f64 {
            for ((param, x, _), direction) in values.iter().zip(&directions) {
                let moved: Vec<f32> = x.iter().zip(direction).map(|(x, d)| x + h * d).collect();
                setup.params.set(*param, &moved).unwrap();
            }
            f64::from(setup.loss().item().unwrap())
        };
        let measured = (at(h) - at(-h)) / (2.0 * f64::from(h));
        // The rounding of two f32 losses, and the third derivative over h².
        let bound = 1e-2 * slope.abs() + 2e-6 / f64::from(h);
        assert!(
            (measured - slope).abs() <= bound,
            "{family} {trial}: slope {slope}, measured {measured}"
        );
    }
}
