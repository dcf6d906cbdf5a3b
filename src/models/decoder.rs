//! The one pre-LN decoder: embedding, blocks of attention and MLP, a last norm, a tied head.

use crate::error::{Error, Kind, Result};
use crate::models::Input;
use crate::nn::{LayerNorm, Linear, Pass, State};
use crate::ops::attention::{Attention, KeyValues};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::linear::Activation;
use crate::tensor::{Group, Layout, Param, Parameters, Tensor};

/// The sizes of a decoder and what tells its dialects apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub vocab: usize,
    /// The most positions.
    pub context: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Numbers between the two maps of the MLP.
    pub mlp_width: usize,
    pub activation: Activation,
    pub eps: f32,
    pub dropout: DropoutShares,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DropoutShares {
    pub embedding: f32,
    pub attention: f32,
    /// Of what attention and MLP add to the residual stream.
    pub residual: f32,
}

/// More is a mistake in a config, and would take minutes only to be laid out.
const MOST_LAYERS: usize = 1000;

impl Options {
    /// Bad data: sizes that no decoder has. Out of memory: sizes that no machine could address.
    fn check(&self) -> Result<()> {
        let Options { vocab, context, width, layers, heads, mlp_width, .. } = *self;
        super::head_dim(width, heads)?;
        let refuse = |expected: String, found: usize| {
            Err(Error::bad_data("model config", expected, found.to_string()))
        };
        for (what, size) in [("vocabulary", vocab), ("context", context), ("MLP width", mlp_width)]
        {
            if size == 0 {
                return refuse(format!("a {what} of at least 1"), size);
            }
        }
        if !(1..=MOST_LAYERS).contains(&layers) {
            return refuse(format!("1 to {MOST_LAYERS} layers"), layers);
        }
        // In floating point, where nothing overflows.
        let [vocab, context, width, layers, mlp_width] =
            [vocab, context, width, layers, mlp_width].map(|size| size as f64);
        let count = (vocab + context + layers * (4.0 * width + 2.0 * mlp_width)) * width;
        if count > MOST_PARAMETERS {
            let found = format!("about {count:.1e}");
            let expected = format!("at most {MOST_PARAMETERS:.1e} parameters");
            return Err(Error::new(Kind::OutOfMemory, "model config", expected, found));
        }
        Ok(())
    }
}

/// What a 64-bit machine could address, were it all f32.
const MOST_PARAMETERS: f64 = 1.0e18;

/// What a dialect calls its weights.
pub struct Names {
    pub tokens: &'static str,
    pub positions: &'static str,
    /// A block is `<blocks>.<i>`, and the rest are places in it.
    pub blocks: &'static str,
    pub attention_norm: &'static str,
    pub qkv: &'static str,
    pub attention_out: &'static str,
    pub mlp_norm: &'static str,
    pub mlp_in: &'static str,
    pub mlp_out: &'static str,
    pub last_norm: &'static str,
}

pub struct Decoder {
    pub options: Options,
    pub tokens: Param,
    pub positions: Param,
    pub blocks: Vec<Block>,
    pub last_norm: LayerNorm,
}

pub struct Block {
    pub attention_norm: LayerNorm,
    /// [width] → [3, heads, head_dim]
    pub qkv: Linear,
    pub attention_out: Linear,
    pub mlp_norm: LayerNorm,
    pub mlp_in: Linear,
    pub mlp_out: Linear,
}

/// Where dropout happens; with the layer, the key of its random numbers.
#[derive(Clone, Copy)]
enum Place {
    Embedding,
    Attention,
    AttentionOut,
    MlpOut,
}

/// A number for every site, the same in every run.
fn site(layer: usize, place: Place) -> u64 {
    4 * layer as u64 + place as u64
}

impl Decoder {
    /// Registers the parameters in the order in which the model reads them.
    pub fn new(options: Options, names: &Names, layout: &mut Layout) -> Result<Self> {
        let Options { vocab, context, width, mlp_width, eps, .. } = options;
        options.check()?;
        let tokens = layout.add(names.tokens, &[vocab, width], Group::Decay)?;
        let positions = layout.add(names.positions, &[context, width], Group::Decay)?;
        let mut blocks = Vec::with_capacity(options.layers);
        for i in 0..options.layers {
            let name = |part: &str| format!("{}.{i}.{part}", names.blocks);
            blocks.push(Block {
                attention_norm: LayerNorm::new(layout, &name(names.attention_norm), width, eps)?,
                qkv: Linear::new(layout, &name(names.qkv), width, 3 * width)?,
                attention_out: Linear::new(layout, &name(names.attention_out), width, width)?,
                mlp_norm: LayerNorm::new(layout, &name(names.mlp_norm), width, eps)?,
                mlp_in: Linear::new(layout, &name(names.mlp_in), width, mlp_width)?,
                mlp_out: Linear::new(layout, &name(names.mlp_out), mlp_width, width)?,
            });
        }
        let last_norm = LayerNorm::new(layout, names.last_norm, width, eps)?;
        Ok(Decoder { options, tokens, positions, blocks, last_norm })
    }

    /// The state after the last norm: [batch, time, width], stored as the parameters are; the residual
    /// stream before it is f32 always, as it is summed over all layers. Shows `hidden.i`, the residual stream
    /// before block i (the last one normed, as `transformers` counts them), and `attention.i`.
    pub fn hidden(&self, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        let shares = self.options.dropout;
        let positions = pass.params.get(self.positions);
        let tokens = pass.params.get(self.tokens);
        let x = tokens.embedding(&input.tokens, Some((&positions, &input.positions)))?;
        let mut x = drop_out(x, shares.embedding, site(0, Place::Embedding), pass)?;
        x = pass.show(|| "hidden.0".into(), x)?;
        let first = self.blocks.first().map_or(&self.last_norm, |block| &block.attention_norm);
        let mut normed = first.forward(&x, pass)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let attended = self.attend(i, &normed, input, pass)?;
            (x, normed) = block.mlp_norm.residual(&x, &attended, pass)?;
            let inner = block.mlp_in.forward(&normed, self.options.activation, pass)?;
            let added = block.mlp_out.forward(&inner, Activation::Identity, pass)?;
            let added = drop_out(added, shares.residual, site(i, Place::MlpOut), pass)?;
            let last = i + 1 == self.blocks.len();
            let next = if last { &self.last_norm } else { &self.blocks[i + 1].attention_norm };
            (x, normed) = next.residual(&x, &added, pass)?;
            let shown = if last { &mut normed } else { &mut x };
            *shown = pass.show(|| format!("hidden.{}", i + 1), shown.clone())?;
        }
        Ok(normed)
    }

    /// What the attention of block `i` adds to the residual stream.
    fn attend(&self, i: usize, x: &Tensor, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        let (block, Options { heads, width, dropout, .. }) = (&self.blocks[i], &self.options);
        let head_dim = width / heads;
        let &[batch, time, _] = x.dims() else {
            return Err(crate::Error::shape("decoder", "[batch, time, width]", format!("{x:?}")));
        };
        let scale = 1.0 / (head_dim as f32).sqrt();
        let qkv = block.qkv.forward(x, Activation::Identity, pass)?;
        let qkv = qkv.reshape(&[batch, time, 3, *heads, head_dim])?;
        let first_key = &input.first_key;
        let options = Attention { scale, alibi: false, dropout: None };
        pass.show_made(|| format!("attention.{i}"), || qkv.attention_probs(first_key, options))?;
        let y = match &mut pass.state {
            Some(state) => qkv.cached_attention(&mut state.layers[i], first_key, options)?,
            None => {
                let dropout = pass.dropout_at(dropout.attention, site(i, Place::Attention))?;
                qkv.attention(first_key, Attention { dropout, ..options })?
            }
        };
        drop(qkv);
        let added = block.attention_out.forward(&y, Activation::Identity, pass)?;
        drop_out(added, dropout.residual, site(i, Place::AttentionOut), pass)
    }

    /// [..., width] → [..., vocab] in f32, by the token embedding.
    pub fn logits(&self, hidden: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        hidden.linear_f32(&pass.params.get(self.tokens))
    }

    /// The loss of `targets` [batch, time] given `hidden` [batch, time, width].
    pub fn loss(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        options: CrossEntropy,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let rows = targets.numel();
        let hidden = hidden.reshape(&[rows, self.options.width])?;
        let head = pass.params.get(self.tokens);
        hidden.linear_cross_entropy(&head, &targets.reshape(&[rows])?, options)
    }

    pub fn new_state(&self, rows: usize, capacity: usize, params: &Parameters) -> Result<State> {
        let Options { heads, width, .. } = self.options;
        let dims = [rows, heads, capacity, width / heads];
        let layer = |_: &Block| KeyValues::new(dims, params.dtype(), params.device());
        Ok(State { layers: self.blocks.iter().map(layer).collect::<Result<_>>()? })
    }
}

fn drop_out(x: Tensor, share: f32, site: u64, pass: &Pass) -> Result<Tensor> {
    match pass.dropout_at(share, site)? {
        Some(dropout) => x.dropout(dropout),
        None => Ok(x),
    }
}
