//! Text from a model: the prompt in one pass, then a token at a time over cached keys and values.
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
    let mut rows = Rows::new(prompts, settings, model.context());
    if rows.steps > 0 {
        no_grad(|| rows.run(model, params, settings, on_token))?;
    }
    Ok(rows.rows.into_iter().map(Row::finish).collect())
}

impl Settings {
    fn check(&self) -> Result<()> {
        let counts = [
            ("max-new-tokens", self.max_new_tokens),
            ("num-return-sequences", self.num_return_sequences),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            None => Ok(()),
            Some((name, _)) => Err(Error::usage(*name, "at least 1", "0")),
        }
    }
}

fn check_prompt(prompt: &[u32], model: &dyn Model) -> Result<()> {
    let (context, vocab) = (model.context(), model.vocab_size());
    if prompt.is_empty() || prompt.len() > context {
        let expected = format!("1 to {context} tokens, the model's context");
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

/// One text that grows.
struct Row {
    prompt: Vec<u32>,
    /// Places before the prompt that hold no token of it.
    padding: usize,
    /// Which continuation of its prompt this is.
    sequence: u32,
    /// The most tokens to add.
    room: usize,
    added: Vec<u32>,
    finish_reason: Option<FinishReason>,
}

impl Row {
    fn add(&mut self, id: u32, eos: Option<u32>) {
        self.added.push(id);
        if eos == Some(id) {
            self.finish_reason = Some(FinishReason::Stop);
        } else if self.added.len() >= self.room {
            self.finish_reason = Some(FinishReason::Length);
        }
    }

    fn finish(self) -> Generated {
        let finish_reason = self.finish_reason.unwrap_or(FinishReason::Length);
        Generated { token_ids: self.added, finish_reason }
    }
}

/// The texts that go through the model together.
struct Rows {
    rows: Vec<Row>,
    /// The longest prompt, to which the others are padded.
    longest: usize,
    /// Tokens to add to the row that has the most room.
    steps: usize,
    /// Positions that the model has.
    context: usize,
}

impl Rows {
    fn new(prompts: &[Vec<u32>], settings: &Settings, context: usize) -> Self {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let row = |prompt: &Vec<u32>, sequence: usize| {
            let room = settings.max_new_tokens.min(context - prompt.len());
            Row {
                padding: longest - prompt.len(),
                prompt: prompt.clone(),
                sequence: sequence as u32,
                room,
                added: Vec::new(),
                finish_reason: (room == 0).then_some(FinishReason::Length),
            }
        };
        let sequences = 0..settings.num_return_sequences;
        let rows: Vec<Row> = prompts
            .iter()
            .flat_map(|prompt| sequences.clone().map(move |sequence| row(prompt, sequence)))
            .collect();
        let steps = rows.iter().map(|row| row.room).max().unwrap_or(0);
        Rows { rows, longest, steps, context }
    }

    fn run(
        &mut self,
        model: &dyn Model,
        params: &Parameters,
        settings: &Settings,
        on_token: &mut dyn FnMut(usize, u32) -> Result<()>,
    ) -> Result<()> {
        let rng = Rng::new(settings.seed);
        // The last token is drawn and not read again.
        let capacity = self.longest + self.steps - 1;
        let mut state = model.new_state(self.rows.len(), capacity, params)?;
        let mut input = self.prompts(params.device())?;
        loop {
            let logits = last_logits(model, params, &input, &mut state)?;
            let tokens = logits.sample(&settings.sampler, rng, &self.places())?;
            let tokens = tokens.to_vec::<u32>()?;
            for (index, (row, &id)) in self.rows.iter_mut().zip(&tokens).enumerate() {
                if row.finish_reason.is_none() {
                    row.add(id, settings.eos);
                    on_token(index, id)?;
                }
            }
            if self.rows.iter().all(|row| row.finish_reason.is_some()) {
                return Ok(());
            }
            input = self.next(&tokens, params.device())?;
        }
    }

    /// The prompts, padded on the left: [rows, longest].
    fn prompts(&self, device: Device) -> Result<Input> {
        let (mut tokens, mut positions, mut first_key) = (Vec::new(), Vec::new(), Vec::new());
        for Row { prompt, padding, .. } in &self.rows {
            // A place of the padding reads itself alone, and nobody reads it.
            tokens.extend((0..*padding).map(|_| 0).chain(prompt.iter().copied()));
            positions.extend((0..*padding).map(|_| 0).chain(0..prompt.len() as u32));
            first_key.extend((0..*padding as u32).chain(prompt.iter().map(|_| *padding as u32)));
        }
        self.input([tokens, positions, first_key], device)
    }

    /// The tokens just drawn, each after its row. A row that has ended goes along and is not looked
    /// at; it stays within the context.
    fn next(&self, tokens: &[u32], device: Device) -> Result<Input> {
        let place = |row: &Row| (row.prompt.len() + row.added.len()).min(self.context) as u32 - 1;
        let positions = self.rows.iter().map(place).collect();
        let first_key = self.rows.iter().map(|row| row.padding as u32).collect();
        self.input([tokens.to_vec(), positions, first_key], device)
    }

    fn input(&self, columns: [Vec<u32>; 3], device: Device) -> Result<Input> {
        let dims = [self.rows.len(), columns[0].len() / self.rows.len()];
        let tensor = |values: &Vec<u32>| Tensor::from_slice(values, &dims, device);
        let [tokens, positions, first_key] = &columns;
        Ok(Input {
            tokens: tensor(tokens)?,
            positions: tensor(positions)?,
            first_key: tensor(first_key)?,
        })
    }

    /// Where the next token of each row will stand in its text.
    fn places(&self) -> Vec<Place> {
        let position = |row: &Row| (row.prompt.len() + row.added.len()) as u32;
        let place = |row: &Row| Place { sequence: row.sequence, position: position(row) };
        self.rows.iter().map(place).collect()
    }
}

/// The logits after the last place of each row: [rows, vocab].
fn last_logits(
    model: &dyn Model,
    params: &Parameters,
    input: &Input,
    state: &mut State,
) -> Result<Tensor> {
    let mut pass = Pass { state: Some(state), ..Pass::new(params) };
    let hidden = model.hidden(input, &mut pass)?;
    let &[rows, time, width] = hidden.dims() else {
        let expected = "[rows, time, width]";
        return Err(Error::shape("generate: hidden", expected, format!("{hidden:?}")));
    };
    let last = hidden.narrow(1, time - 1, 1)?.reshape(&[rows, width])?;
    model.logits(&last, &mut pass)
}
