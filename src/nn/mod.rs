//! Thin layers over parameter ids, and what accompanies a forward pass through them.

mod pass;

pub use pass::{Pass, Probe, State};

use crate::error::Result;
use crate::ops::linear::Activation;
use crate::tensor::{Group, Layout, Param, Tensor};

/// An affine map: weight [out, in], and bias [out] where there is one.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub weight: Param,
    pub bias: Option<Param>,
}

impl Linear {
    /// Registers `<name>.weight`, which decays, and with a bias `<name>.bias`, which does not.
    pub fn new(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Self> {
        let weight = layout.add(&format!("{name}.weight"), &[outputs, inputs], Group::Decay)?;
        let bias = bias.then(|| layout.add(&format!("{name}.bias"), &[outputs], Group::NoDecay));
        Ok(Linear { weight, bias: bias.transpose()? })
    }

    pub fn forward(&self, x: &Tensor, activation: Activation, pass: &Pass) -> Result<Tensor> {
        let params = pass.params;
        let bias = self.bias.map(|bias| params.get(bias));
        x.linear(&params.get(self.weight), bias.as_ref(), activation)
    }
}

/// Layer norm: weight and bias [width].
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    pub weight: Param,
    pub bias: Param,
    pub eps: f32,
}

impl LayerNorm {
    /// Registers `<name>.weight` and `<name>.bias`, neither of which decays.
    pub fn new(layout: &mut Layout, name: &str, width: usize, eps: f32) -> Result<Self> {
        Ok(LayerNorm {
            weight: layout.add(&format!("{name}.weight"), &[width], Group::NoDecay)?,
            bias: layout.add(&format!("{name}.bias"), &[width], Group::NoDecay)?,
            eps,
        })
    }

    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        x.layer_norm(&pass.params.get(self.weight), &pass.params.get(self.bias), self.eps)
    }

    /// x + delta, and its norm.
    pub fn residual(&self, x: &Tensor, delta: &Tensor, pass: &Pass) -> Result<(Tensor, Tensor)> {
        let (weight, bias) = (pass.params.get(self.weight), pass.params.get(self.bias));
        x.residual_layer_norm(delta, &weight, &bias, self.eps)
    }
}
