//! Looks inside a model while it reads a text: hidden states, attention, logits, gradients.
//!
//! Names, shapes and order are those of `transformers` (`output_hidden_states`, `output_attentions`,
//! `labels`), so that what is dumped here and what is computed there can be compared key by key.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::formats::safetensors::{self, Entry};
use crate::models::{Input, Model, in_file_layout};
use crate::nn::{Pass, Probe};
use crate::ops::cross_entropy::{CrossEntropy, IGNORE};
use crate::tensor::{Device, Gradients, Parameters, Tensor, backward, no_grad};
use half::{bf16, f16};
use std::path::Path;

/// How much is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    Logits,
    /// And every site that the model shows: `hidden.N`, `attention.N`.
    Sites,
    /// And the loss of each token after the first, and its gradient in every weight.
    Gradients,
}

/// What a model held while it read one text, on the CPU.
pub struct Inspection {
    /// u32, [1, time].
    pub token_ids: Tensor,
    /// [1, time, vocab].
    pub logits: Tensor,
    /// Names and tensors in the order of the pass: `hidden.N` [1, time, width], a decoder's last one
    /// after the final norm; `attention.N` [1, heads, time, time].
    pub sites: Vec<(String, Tensor)>,
    /// Mean nats of each token given those before it.
    pub loss: Option<f32>,
    /// The loss's gradient by the weights' names, shaped as the Hugging Face file stores them.
    pub gradients: Vec<(String, Tensor)>,
}

/// Lets `model` read `token_ids` as they are, without an end of text before or after them. For
/// [`Depth::Gradients`] the parameters must have been loaded for training; frozen ones get none.
///
/// Usage error: no token, more than the context holds, an id that the model does not know, or no
/// second token to be foretold where gradients are wanted.
pub fn inspect(
    model: &dyn Model,
    params: &Parameters,
    token_ids: &[u32],
    depth: Depth,
) -> Result<Inspection> {
    check(model, token_ids, depth)?;
    match depth {
        Depth::Gradients => look(model, params, token_ids, depth),
        Depth::Logits | Depth::Sites => no_grad(|| look(model, params, token_ids, depth)),
    }
}

fn check(model: &dyn Model, ids: &[u32], depth: Depth) -> Result<()> {
    let least = if depth == Depth::Gradients { 2 } else { 1 };
    if ids.len() < least || model.context().is_some_and(|most| ids.len() > most) {
        let expected = match model.context() {
            Some(most) => format!("{least} to {most} tokens"),
            None => format!("{least} or more tokens"),
        };
        return Err(Error::usage("the text to inspect", expected, ids.len().to_string()));
    }
    let vocab = model.vocab_size();
    match ids.iter().find(|&&id| id as usize >= vocab) {
        None => Ok(()),
        Some(id) => Err(Error::usage(
            "a token id",
            format!("one below the model's {vocab}"),
            id.to_string(),
        )),
    }
}

fn look(model: &dyn Model, params: &Parameters, ids: &[u32], depth: Depth) -> Result<Inspection> {
    let input = Input::rows(ids, 1, params.device())?;
    let mut recorder = Recorder { sites: Vec::new() };
    let mut pass = Pass::new(params);
    if depth >= Depth::Sites {
        pass.probe = Some(&mut recorder);
    }
    let hidden = model.hidden(&input, &mut pass)?;
    let logits = no_grad(|| model.logits(&hidden.detach(), &mut pass))?;
    let mut loss = None;
    let mut gradients = Vec::new();
    if depth == Depth::Gradients {
        let targets = [&ids[1..], &[IGNORE]].concat();
        let targets = Tensor::from_slice(&targets, input.tokens.dims(), params.device())?;
        let options = CrossEntropy { targets: ids.len() - 1, chunk: ids.len() };
        let mean = model.loss(&hidden, &targets, options, &mut pass)?;
        loss = Some(mean.item()?);
        let mut grads = Gradients::new(params)?;
        backward(mean, Tensor::scalar(1.0, params.device())?, &mut grads)?;
        grads.require_all()?;
        gradients = in_file(model, params, &grads)?;
    }
    let token_ids = input.tokens.to_device(Device::Cpu)?;
    let logits = logits.to_device(Device::Cpu)?;
    Ok(Inspection { token_ids, logits, sites: recorder.sites, loss, gradients })
}

/// The gradient of every trainable weight, as the file has the weight.
fn in_file(
    model: &dyn Model,
    params: &Parameters,
    grads: &Gradients,
) -> Result<Vec<(String, Tensor)>> {
    let trainable = params.segments().filter(|(param, _)| params.get(*param).edge().is_some());
    let parts: Vec<_> = trainable
        .map(|(param, segment)| {
            let grad = grads.get(param)?.to_device(Device::Cpu)?;
            in_file_layout(&segment.name, model, &grad)
        })
        .collect::<Result<_>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// Keeps whatever a model shows.
struct Recorder {
    sites: Vec<(String, Tensor)>,
}

impl Probe for Recorder {
    fn wants(&self, _site: &str) -> bool {
        true
    }

    fn visit(&mut self, site: &str, x: Tensor) -> Result<Tensor> {
        self.sites.push((site.to_string(), x.to_device(Device::Cpu)?));
        Ok(x)
    }
}

impl Inspection {
    /// For every place of the text, the most likely next token (the lowest id among equals) and its
    /// probability.
    pub fn predictions(&self) -> Result<Vec<(u32, f64)>> {
        let logits = self.logits.read()?;
        let best = |row: &[f32]| {
            let mut best = 0;
            for (id, logit) in row.iter().enumerate() {
                if *logit > row[best] {
                    best = id;
                }
            }
            let sum: f64 = row.iter().map(|&x| (f64::from(x) - f64::from(row[best])).exp()).sum();
            (best as u32, 1.0 / sum)
        };
        Ok(logits.chunks_exact(self.logits.shape().last_dim()).map(best).collect())
    }

    /// Writes everything into a safetensors file, whole or not at all: `token_ids`, `logits`, the
    /// sites by their names, `loss` (a scalar) and `grad.<weight>`. Returns how many tensors.
    pub fn dump(&self, path: &Path) -> Result<usize> {
        let loss = self.loss.map(|loss| [loss]);
        let mut entries =
            vec![entry("token_ids", &self.token_ids)?, entry("logits", &self.logits)?];
        for (name, tensor) in &self.sites {
            entries.push(entry(name, tensor)?);
        }
        if let Some(loss) = &loss {
            entries.push(Entry::new("loss", &[], loss));
        }
        for (name, tensor) in &self.gradients {
            entries.push(entry(&format!("grad.{name}"), tensor)?);
        }
        safetensors::save(path, &entries, &[])?;
        Ok(entries.len())
    }
}

fn entry<'a>(name: &str, tensor: &'a Tensor) -> Result<Entry<'a>> {
    let dims = tensor.dims();
    Ok(match tensor.dtype() {
        DType::F32 => Entry::new(name, dims, tensor.slice::<f32>()?),
        DType::F16 => Entry::new(name, dims, tensor.slice::<f16>()?),
        DType::BF16 => Entry::new(name, dims, tensor.slice::<bf16>()?),
        DType::U32 => Entry::new(name, dims, tensor.slice::<u32>()?),
    })
}
