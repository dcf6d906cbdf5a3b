//! Text from a model: the prompt in one pass, then a token at a time over what the model carries along.
//!
//! Prompts of different lengths go through together, padded on the left: `first_key` hides the padding
//! and positions count from each row's own beginning, so a text is what it would be alone.

mod stream;

pub use stream::TextStream;

use crate::error::{Error, Result};
use crate::models::{Input, Model};
use crate::nn::{Pass, State};
use crate::ops::sample::{Place, Sampler};
use crate::random::Rng;
use crate::tensor::{Device, Parameters, Tensor, no_grad};

/// How texts are continued.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most tokens to add, from 1 up; fewer where the model's context is full before.
    pub max_new_tokens: usize,
    pub sampler: Sampler,
    pub seed: u64,
    /// The id after which a text ends; without one it goes on to its full length.
    pub eos: Option<u32>,
    /// Continuations of each prompt, from 1 up.
    pub num_return_sequences: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended the text.
    Stop,
    /// `max_new_tokens` or the model's context was reached.
    Length,
}

impl FinishReason {
    pub fn name(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        }
    }
}

/// What was added to a prompt; the last id is the end of text where that is why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    pub token_ids: Vec<u32>,
    pub finish_reason: FinishReason,
}

impl Generated {
    /// What was added, without the id that ended it.
    pub fn text_ids(&self) -> &[u32] {
        let end = usize::from(self.finish_reason == FinishReason::Stop);
        &self.token_ids[..self.token_ids.len() - end]
    }
}

/// Continues each of `prompts`, ids that begin as the model's documents do, `num_return_sequences`
/// times: the first prompt's continuations come first. `on_token(sequence, id)` sees every token as
/// it comes; an error that it returns ends the work.
///
/// The n-th continuation of a prompt draws with the numbers of (seed, n, position), whatever else is
/// generated beside it. Usage error: a setting that is 0, an empty prompt, one longer than the context.
pub fn generate(
    model: &dyn Model,
    params: &Parameters,
    prompts: &[Vec<u32>],
    settings: &Settings,
    on_token: &mut dyn FnMut(usize, u32) -> Result<()>,
) -> Result<Vec<Generated>> {
    settings.check()?;
    for prompt in prompts {
        check_prompt(prompt, model)?;
    }
    no_grad(|| run(model, params, prompts, settings, on_token))
}

impl Settings {
    /// Usage error: a count that is 0, or more continuations than there are random numbers for.
    pub fn check(&self) -> Result<()> {
        if self.max_new_tokens == 0 {
            return Err(Error::usage("max-new-tokens", "at least 1", "0"));
        }
        let sequences = self.num_return_sequences;
        if sequences == 0 || u32::try_from(sequences).is_err() {
            let expected = format!("1 to {}", u32::MAX);
            return Err(Error::usage("num-return-sequences", expected, sequences.to_string()));
        }
        Ok(())
    }
}

/// Usage error: an empty prompt, or one longer than the model's context. Bad data: an id beyond its
/// vocabulary.
pub fn check_prompt(prompt: &[u32], model: &dyn Model) -> Result<()> {
    let vocab = model.vocab_size();
    if prompt.is_empty() || model.context().is_some_and(|context| prompt.len() > context) {
        let expected = match model.context() {
            Some(context) => format!("1 to {context} tokens, the model's context"),
            None => "1 token or more".into(),
        };
        return Err(Error::usage("prompt", expected, prompt.len().to_string()));
    }
    match prompt.iter().find(|&&id| id as usize >= vocab) {
        None => Ok(()),
        Some(id) => {
            let expected = format!("ids below {vocab}, the model's vocabulary");
            Err(Error::bad_data("prompt", expected, id.to_string()))
        }
    }
}

/// How many tokens can follow the first `len` of a text: `max_new_tokens`, or what the context leaves.
pub fn room(len: usize, max_new_tokens: usize, model: &dyn Model) -> usize {
    model.context().map_or(max_new_tokens, |context| max_new_tokens.min(context - len))
}

fn run(
    model: &dyn Model,
    params: &Parameters,
    prompts: &[Vec<u32>],
    settings: &Settings,
    on_token: &mut dyn FnMut(usize, u32) -> Result<()>,
) -> Result<Vec<Generated>> {
    let (device, rng) = (params.device(), Rng::new(settings.seed));
    let room = |len| room(len, settings.max_new_tokens, model);
    let lengths = || prompts.iter().map(Vec::len);
    let (Some(shortest), Some(longest)) = (lengths().min(), lengths().max()) else {
        return Ok(Vec::new());
    };
    let capacity = longest.saturating_add(room(shortest));
    // First of all: more texts than memory can hold are refused here.
    let count = prompts.len() * settings.num_return_sequences;
    let mut state = model.new_state(count, capacity, params)?;
    let mut rows: Vec<Row> = prompts
        .iter()
        .flat_map(|prompt| (0..settings.num_return_sequences).map(move |n| (prompt, n)))
        .map(|(prompt, n)| Row::new(prompt, n, longest, room(prompt.len())))
        .collect();

    let mut input = prompt_input(&rows, device)?;
    while rows.iter().any(|row| row.finish_reason.is_none()) {
        let places: Vec<Place> = rows.iter().map(Row::place).collect();
        let sampler = (&settings.sampler, rng, &*places);
        let tokens = next_tokens(model, params, &input, &mut state, sampler)?.to_vec::<u32>()?;
        for (index, (row, &id)) in rows.iter_mut().zip(&tokens).enumerate() {
            if row.finish_reason.is_none() {
                row.add(id, settings.eos);
                on_token(index, id)?;
            }
        }
        input = next_input(&rows, tokens, device)?;
    }
    Ok(rows.into_iter().map(Row::finish).collect())
}

/// One text that grows.
struct Row<'a> {
    prompt: &'a [u32],
    /// Places before the prompt that hold no token of it.
    padding: usize,
    /// Which continuation of its prompt this is.
    sequence: u32,
    /// The most tokens to add.
    room: usize,
    added: Vec<u32>,
    finish_reason: Option<FinishReason>,
}

impl<'a> Row<'a> {
    fn new(prompt: &'a [u32], sequence: usize, longest: usize, room: usize) -> Self {
        Row {
            prompt,
            padding: longest - prompt.len(),
            sequence: sequence as u32,
            room,
            added: Vec::new(),
            finish_reason: (room == 0).then_some(FinishReason::Length),
        }
    }

    fn len(&self) -> usize {
        self.prompt.len() + self.added.len()
    }

    /// Where the next token will stand in its text.
    fn place(&self) -> Place {
        Place { sequence: self.sequence, position: self.len() as u32 }
    }

    fn add(&mut self, id: u32, eos: Option<u32>) {
        self.added.push(id);
        if eos == Some(id) {
            self.finish_reason = Some(FinishReason::Stop);
        } else if self.added.len() == self.room {
            self.finish_reason = Some(FinishReason::Length);
        }
    }

    fn finish(self) -> Generated {
        let finish_reason = self.finish_reason.unwrap_or(FinishReason::Length);
        Generated { token_ids: self.added, finish_reason }
    }
}

/// The prompts, padded on the left to the longest.
fn prompt_input(rows: &[Row], device: Device) -> Result<Input> {
    let (mut tokens, mut positions, mut first_key) = (Vec::new(), Vec::new(), Vec::new());
    for &Row { prompt, padding, .. } in rows {
        let (padding, len) = (padding as u32, prompt.len() as u32);
        // A place of the padding reads itself alone, and nobody reads it.
        tokens.extend((0..padding).map(|_| 0).chain(prompt.iter().copied()));
        positions.extend((0..padding).map(|_| 0).chain(0..len));
        first_key.extend((0..padding).chain((0..len).map(|_| padding)));
    }
    input(rows.len(), [tokens, positions, first_key], device)
}

/// The tokens just drawn. A row that has ended goes along unheeded, at the last place it had.
fn next_input(rows: &[Row], tokens: Vec<u32>, device: Device) -> Result<Input> {
    let positions = rows.iter().map(|row| row.len() as u32 - 1).collect();
    let first_key = rows.iter().map(|row| row.padding as u32).collect();
    input(rows.len(), [tokens, positions, first_key], device)
}

/// Tokens, positions and first keys as tensors [rows, time].
fn input(rows: usize, columns: [Vec<u32>; 3], device: Device) -> Result<Input> {
    let tensor =
        |values: &Vec<u32>| Tensor::from_slice(values, &[rows, values.len() / rows], device);
    let [tokens, positions, first_key] = &columns;
    Ok(Input {
        tokens: tensor(tokens)?,
        positions: tensor(positions)?,
        first_key: tensor(first_key)?,
    })
}

/// The token that follows each row of `input`, drawn for its place: u32 [rows]. Reads nothing back, so
/// that it can be done on the meta device too, where there are no numbers.
pub(crate) fn next_tokens(
    model: &dyn Model,
    params: &Parameters,
    input: &Input,
    state: &mut State,
    (sampler, rng, places): (&Sampler, Rng, &[Place]),
) -> Result<Tensor> {
    let mut pass = Pass { state: Some(state), ..Pass::new(params) };
    let hidden = model.hidden(input, &mut pass)?;
    let &[rows, time, width] = hidden.dims() else {
        let expected = "[rows, time, width]";
        return Err(Error::shape("generate: hidden", expected, format!("{hidden:?}")));
    };
    let last = hidden.narrow(1, time - 1, 1)?.reshape(&[rows, width])?;
    model.logits(&last, &mut pass)?.sample(sampler, rng, places)
}
