//! What a check computes on a device: an operation with its gradients, an optimiser's steps, a model's
//! training. Each comes to tensors that must be the same on every device.

use super::cases::Value;
use crate::dtype::DType;
use crate::error::Result;
use crate::models::Model;
use crate::models::decoder::{DropoutShares, Options};
use crate::models::gpt2::Gpt2;
use crate::ops::adamw::{AdamW, Moments, StepState};
use crate::ops::linear::Activation;
use crate::random::{Rng, normal_pair};
use crate::tensor::{Device, Gradients, Group, Layout, Param, Parameters, Tensor, backward};
use crate::text::Batch;
use crate::train::{Decay, Schedule, Trainer};
use std::rc::Rc;

/// Work that is ready on a device.
pub trait Computation {
    fn run(&mut self) -> Result<()>;
    /// What the last run has computed.
    fn results(&self) -> Result<Vec<Tensor>>;
    /// The least that a run must move: what goes in and what comes out, each once. 0 where that says
    /// nothing.
    fn bytes(&self) -> usize;
}

/// An operation over parameters and ids, forward and, where it has a history, backward.
pub(super) struct Graph<F> {
    forward: Rc<F>,
    params: Parameters,
    grads: Gradients,
    /// Parameters, by their place among the inputs.
    ids: Vec<(usize, Param)>,
    /// All inputs; those of `ids` are taken from `params` anew for each run.
    inputs: Vec<Tensor>,
    dy: Option<Tensor>,
    y: Option<Tensor>,
}

impl<F: Fn(&[Tensor]) -> Result<Tensor>> Graph<F> {
    pub fn new(values: &[Value], forward: Rc<F>, device: Device, dtype: DType) -> Result<Self> {
        let mut layout = Layout::new();
        let (mut ids, mut inputs) = (Vec::new(), Vec::new());
        for (i, value) in values.iter().enumerate() {
            if let Value::Floats(dims, _) = value {
                ids.push((i, layout.add(&format!("input {i}"), dims, Group::Decay)?));
            }
        }
        let mut params = layout.build(dtype, device)?;
        for &(i, id) in &ids {
            if let Value::Floats(_, numbers) = &values[i] {
                params.set(id, numbers)?;
            }
        }
        for value in values {
            inputs.push(match value {
                Value::Floats(..) => Tensor::zeros(&[], DType::F32, device)?,
                Value::Ids(dims, numbers) => Tensor::from_slice(numbers, dims, device)?,
            });
        }
        let grads = Gradients::new(&params)?;
        let mut graph = Graph { forward, params, grads, ids, inputs, dy: None, y: None };
        let y = graph.forward()?;
        if y.edge().is_some() {
            let dy = Tensor::from_slice(&normals(y.numel(), Rng::new(0)), y.dims(), device)?;
            graph.dy = Some(dy.cast(y.dtype())?);
        }
        Ok(graph)
    }

    fn forward(&mut self) -> Result<Tensor> {
        for &(i, id) in &self.ids {
            self.inputs[i] = self.params.get(id);
        }
        (self.forward)(&self.inputs)
    }
}

impl<F: Fn(&[Tensor]) -> Result<Tensor>> Computation for Graph<F> {
    fn run(&mut self) -> Result<()> {
        self.y = None;
        self.grads.clear();
        let y = self.forward()?;
        self.y = Some(y.detach());
        match &self.dy {
            Some(dy) => backward(y, dy.clone(), &mut self.grads),
            None => Ok(()),
        }
    }

    fn results(&self) -> Result<Vec<Tensor>> {
        let mut results: Vec<Tensor> = self.y.iter().cloned().collect();
        if self.dy.is_some() {
            for &(_, id) in &self.ids {
                results.push(self.grads.get(id)?);
            }
        }
        Ok(results)
    }

    fn bytes(&self) -> usize {
        let size = |tensor: &Tensor| tensor.numel() * tensor.dtype().size();
        let forward = self.inputs.iter().chain(&self.y).map(size).sum::<usize>();
        let gradients = |&(i, _): &(usize, Param)| self.inputs[i].numel() * size_of::<f32>();
        let backward = |dy| size(dy) + self.ids.iter().map(gradients).sum::<usize>();
        forward + self.dy.as_ref().map_or(0, backward)
    }
}

/// The global norm of gradients; with a rule also an update by them.
pub(super) struct Update {
    params: Parameters,
    grads: Gradients,
    rule: Option<(AdamW, Moments)>,
    norm: Option<Tensor>,
    weights: Param,
    steps: u64,
}

impl Update {
    pub fn new(
        weights: &Value,
        gradient: &Value,
        rule: Option<AdamW>,
        device: Device,
        dtype: DType,
    ) -> Result<Self> {
        // d Σ weights·gradient / d weights
        let inputs = [weights.clone(), gradient.clone()];
        let product = Rc::new(|x: &[Tensor]| x[0].mul(&x[1])?.sum_all());
        let mut graph = Graph::new(&inputs, product, device, dtype)?;
        graph.run()?;
        let Graph { params, grads, ids, .. } = graph;
        let rule = rule.map(|rule| Ok((rule, Moments::new(&params)?))).transpose()?;
        Ok(Update { params, grads, rule, norm: None, weights: ids[0].1, steps: 0 })
    }
}

impl Computation for Update {
    fn run(&mut self) -> Result<()> {
        let norm = self.grads.norm()?;
        if let Some((rule, moments)) = &mut self.rule {
            self.steps += 1;
            let (step, learning_rate) = (self.steps, 0.01);
            let state = StepState { step, learning_rate, max_grad_norm: 1.0, loss_scale: 4.0 };
            rule.step(&mut self.params, &self.grads, moments, &norm, state)?;
        }
        self.norm = Some(norm);
        Ok(())
    }

    fn results(&self) -> Result<Vec<Tensor>> {
        let weights = self.rule.iter().map(|_| self.params.get(self.weights).detach());
        Ok(self.norm.iter().cloned().chain(weights).collect())
    }

    fn bytes(&self) -> usize {
        let numbers = self.grads.sums().len();
        let value = self.params.dtype().size();
        // m, v and the master, which in f32 is the values, come and go; 16-bit values only go.
        let update = self.rule.as_ref().map_or(0, |(_, moments)| {
            size_of::<f32>() + 6 * size_of::<f32>() + moments.master.as_ref().map_or(0, |_| value)
        });
        numbers * (size_of::<f32>() + update)
    }
}

/// Steps of training a small GPT-2, all of its dropout on.
pub(super) struct Training {
    trainer: Trainer,
    batch: Batch,
    /// The loss and the norm of the gradients of each step.
    seen: Vec<f32>,
}

impl Training {
    pub fn new(device: Device, dtype: DType) -> Result<Self> {
        let (vocab, context, width) = (97, 33, 40);
        let dropout = DropoutShares { embedding: 0.1, attention: 0.1, residual: 0.1 };
        let model = Gpt2::new(
            Options {
                vocab,
                context,
                width,
                layers: 2,
                heads: 5,
                mlp_width: 4 * width,
                activation: Activation::GeluTanh,
                eps: 1e-5,
                dropout,
                window: None,
                tied: true,
            },
            Some(0),
        )?;
        let mut params = model.layout()?.build(dtype, device)?;
        model.initialise(&mut params, 1)?;
        let schedule =
            Schedule { peak: 1e-2, warmup_steps: 0, total_steps: 100, decay: Decay::Constant };
        let rule = AdamW::default();
        let trainer = Trainer::new(Box::new(model), params, rule, schedule, 1.0, 1)?;
        let (rows, time) = (3, context);
        let rng = Rng::new(2);
        let token = |i: usize| rng.words(rng.key(0), i as u64)[0] % vocab as u32;
        let places = rows * time;
        let batch = Batch {
            tokens: (0..places).map(token).collect(),
            targets: (1..=places).map(token).collect(),
            positions: (0..places).map(|i| (i % time) as u32).collect(),
            first_key: vec![0; places],
            rows,
            time,
        };
        Ok(Training { trainer, batch, seen: Vec::new() })
    }
}

impl Computation for Training {
    fn run(&mut self) -> Result<()> {
        for _ in 0..4 {
            let step = self.trainer.step(&self.batch)?;
            self.seen.extend([step.loss, step.grad_norm]);
        }
        Ok(())
    }

    fn results(&self) -> Result<Vec<Tensor>> {
        Ok(vec![Tensor::from_slice(&self.seen, &[self.seen.len()], Device::Cpu)?])
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// Standard normal numbers.
pub(super) fn normals(n: usize, rng: Rng) -> Vec<f32> {
    let key = rng.key(0);
    let pair = |i: usize| {
        let words = rng.words(key, i as u64);
        let ((a, b), (c, d)) = (normal_pair(words[0], words[1]), normal_pair(words[2], words[3]));
        [a, b, c, d]
    };
    (0..n.div_ceil(4)).flat_map(pair).take(n).collect()
}
