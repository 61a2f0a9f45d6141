//! Rows of a result, gathered from its frames in lots of bounded size, each of which becomes a
//! record batch as soon as the schema is known.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use dqlite_proto::{DecodeError, RowsFrame};
use pyo3::prelude::*;

use super::cells::{Cells, Misfit};
use super::kind::{Kind, Want};
use super::table::ArrowTable;
use crate::errors;
use crate::projection::Types;

/// Bytes of text and blobs after which a lot is complete whatever the number of its rows.
const LOT_BYTES_MAX: usize = 64 << 20;

/// The messages behind rows that may still be asked for in another form.
pub(crate) struct Kept {
    frames: VecDeque<(RowsFrame, usize)>,
    types: Types,
}

impl Kept {
    /// Nothing yet of a result whose cells are read as `types` says.
    pub(crate) const fn new(types: Types) -> Self {
        let frames = VecDeque::new();
        Self { frames, types }
    }

    /// Keeps a message of which so many rows were made.
    pub(crate) fn keep(&mut self, frame: &RowsFrame, rows: usize) {
        self.frames.push_back((frame.clone(), rows));
    }

    /// Forgets messages except those behind the last so many rows.
    pub(crate) fn only(&mut self, rows: usize) {
        let mut more = self.rows().saturating_sub(rows);
        while let Some((_, count)) = self.frames.front()
            && *count <= more
        {
            more -= count;
            self.frames.pop_front();
        }
    }

    fn rows(&self) -> usize {
        self.frames.iter().map(|(_, rows)| rows).sum()
    }
}

/// How the caller wants the batches.
pub(crate) struct Wish {
    pub(crate) batch_rows: usize,
    pub(crate) types: Vec<(String, Want)>,
    /// One table of all rows, whose types are decided by all of them.
    pub(crate) whole: bool,
}

impl Wish {
    /// Checks what Python gave.
    pub(crate) fn of(
        py: Python<'_>,
        batch_rows: usize,
        types: Vec<(String, String)>,
        whole: bool,
    ) -> PyResult<Self> {
        if batch_rows == 0 {
            return Err(errors::programming(py, "batch_rows must be at least 1"));
        }
        let types = types.into_iter().map(|(name, word)| {
            let want = Want::of(&word).ok_or_else(|| {
                let words = "int64, float64, utf8, binary, bool, timestamp or date32";
                let text = format!("column {name:?}: the type must be {words}, got {word:?}");
                errors::programming(py, text)
            })?;
            Ok((name, want))
        });
        Ok(Self {
            batch_rows,
            types: types.collect::<PyResult<_>>()?,
            whole,
        })
    }
}

/// Some rows of a result, column by column.
struct Lot {
    columns: Vec<Cells>,
    rows: usize,
    /// The number of its first row.
    first: usize,
}

/// Gathers the rows of one result.
pub(crate) struct Gatherer {
    wish: Wish,
    types: Types,
    names: Vec<String>,
    wants: Vec<Option<Want>>,
    decided: Option<(SchemaRef, Vec<Kind>)>,
    lot: Lot,
    full: VecDeque<Lot>,
    skip: usize,
    /// Rows that have come, whether they are wanted or not.
    seen: usize,
    failed: Option<(usize, Misfit)>,
    /// An error was told; nothing comes after it.
    over: bool,
}

impl Gatherer {
    /// Begins with the messages that came before, of whose rows the last `left` are wanted.
    pub(crate) fn of(
        py: Python<'_>,
        names: Vec<String>,
        wish: Wish,
        kept: &Kept,
        left: usize,
    ) -> PyResult<Self> {
        for (name, _) in &wish.types {
            if !names.contains(name) {
                let text = format!("types names column {name:?}, which the result has not");
                return Err(errors::programming(py, text));
            }
        }
        let want = |name: &String| {
            let found = wish.types.iter().find(|(own, _)| own == name);
            found.map(|(_, want)| *want)
        };
        let wants = names.iter().map(want).collect();
        let lot = Lot::new(names.len(), 0);
        let mut made = Self {
            wish,
            types: kept.types,
            names,
            wants,
            decided: None,
            lot,
            full: VecDeque::new(),
            skip: kept.rows().saturating_sub(left),
            seen: 0,
            failed: None,
            over: false,
        };
        for (frame, _) in &kept.frames {
            // It was decoded once before, and found to be what it should be.
            let _ = made.take(frame);
        }
        Ok(made)
    }

    /// How many rows of the result have come.
    pub(crate) const fn seen(&self) -> usize {
        self.seen
    }

    /// Goes on counting where so many have come.
    pub(crate) const fn begin_at(&mut self, seen: usize) {
        self.seen = seen;
    }

    /// Takes the rows of a message.
    pub(crate) fn take(&mut self, frame: &RowsFrame) -> Result<(), DecodeError> {
        let mut cursor = frame.rows();
        while let Some(row) = cursor.next_row()? {
            self.seen += 1;
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            if self.failed.is_some() || self.over {
                return Ok(());
            }
            let cells = self.lot.columns.iter_mut().zip(&self.wants).enumerate();
            for ((at, (cells, want)), value) in cells.zip(row) {
                if let Err(misfit) = cells.push(value?, self.types, *want) {
                    self.failed = Some((at, self.lot.misfit(misfit)));
                    break;
                }
            }
            self.lot.rows += 1;
            if self.lot.rows >= self.wish.batch_rows || self.lot.is_heavy() {
                self.seal();
            }
        }
        Ok(())
    }

    /// Whether there is something to take: a full lot of a stream, or an error.
    pub(crate) fn is_ready(&self) -> bool {
        self.failed.is_some() || !self.wish.whole && !self.full.is_empty()
    }

    /// What is ready: the next lot of a stream; behind the last message also the rest, or the
    /// whole.
    pub(crate) fn next(&mut self, py: Python<'_>, done: bool) -> PyResult<Option<ArrowTable>> {
        if self.over || self.wish.whole && !done && self.failed.is_none() {
            return Ok(None);
        }
        let exhausted = self.full.is_empty() || self.wish.whole;
        if exhausted && let Some((at, misfit)) = self.failed.take() {
            self.over = true;
            return Err(self.data_error(py, at, &misfit));
        }
        if done && self.lot.rows > 0 {
            self.seal();
        }
        if self.full.is_empty() && !(done && self.decided.is_none()) {
            return Ok(None);
        }
        let (schema, kinds) = self.decide();
        let count = if self.wish.whole { self.full.len() } else { 1 };
        let mut batches = Vec::new();
        for lot in self.full.drain(..count.min(self.full.len())) {
            let made = lot.into_batch(&schema, &kinds);
            let batch = made.map_err(|(at, misfit)| {
                self.over = true;
                let name = self.names.get(at).map_or("", String::as_str);
                data_error(py, name, &misfit)
            })?;
            batches.push(batch);
        }
        Ok(Some(ArrowTable::new(schema, batches)))
    }

    fn seal(&mut self) {
        let first = self.lot.first + self.lot.rows;
        let next = Lot::new(self.names.len(), first);
        self.full.push_back(std::mem::replace(&mut self.lot, next));
    }

    /// The schema: by the first lot of a stream, by all lots of a whole.
    fn decide(&mut self) -> (SchemaRef, Vec<Kind>) {
        if let Some(decided) = &self.decided {
            return decided.clone();
        }
        let count = if self.wish.whole { self.full.len() } else { 1 };
        let kinds: Vec<_> = (0..self.names.len())
            .map(|at| {
                let lots = self.full.iter().take(count);
                let mut cells = lots.filter_map(|lot| lot.columns.get(at));
                match self.wants[at] {
                    Some(want) => {
                        let told = cells.clone().find(|cells| cells.kind() != Kind::Null);
                        told.map_or_else(|| Cells::new().wanted(want), |cells| cells.wanted(want))
                    }
                    None => cells
                        .try_fold(Kind::Null, |kind, cells| kind.with(cells.kind()))
                        // What does not go together is told by the lot that meets it.
                        .unwrap_or_else(|| self.full[0].columns[at].kind()),
                }
            })
            .collect();
        let fields = self.names.iter().zip(&kinds);
        let fields: Vec<_> = fields
            .map(|(name, kind)| Field::new(name, kind.data_type(), true))
            .collect();
        let decided = (Arc::new(Schema::new(fields)), kinds);
        self.decided = Some(decided.clone());
        decided
    }

    fn data_error(&self, py: Python<'_>, at: usize, misfit: &Misfit) -> PyErr {
        let name = self.names.get(at).map_or("", String::as_str);
        data_error(py, name, misfit)
    }
}

impl Lot {
    fn new(columns: usize, first: usize) -> Self {
        Self {
            columns: (0..columns).map(|_| Cells::new()).collect(),
            rows: 0,
            first,
        }
    }

    fn is_heavy(&self) -> bool {
        self.columns.iter().map(Cells::data_len).sum::<usize>() >= LOT_BYTES_MAX
    }

    fn misfit(&self, misfit: Misfit) -> Misfit {
        Misfit {
            at: self.first + misfit.at,
            text: misfit.text,
        }
    }

    fn into_batch(
        self,
        schema: &SchemaRef,
        kinds: &[Kind],
    ) -> Result<RecordBatch, (usize, Misfit)> {
        let (first, rows) = (self.first, self.rows);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(kinds.len());
        for (at, (cells, kind)) in self.columns.into_iter().zip(kinds).enumerate() {
            let array = cells.into_array(*kind).map_err(|misfit| {
                let misfit = Misfit {
                    at: first + misfit.at,
                    text: misfit.text,
                };
                (at, misfit)
            })?;
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let made = RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options);
        made.map_err(|error| {
            let text = error.to_string();
            (0, Misfit { at: first, text })
        })
    }
}

fn data_error(py: Python<'_>, column: &str, misfit: &Misfit) -> PyErr {
    let text = format!("column {column:?}, row {}: {}", misfit.at, misfit.text);
    errors::Raise::new(py, "DataError", text)
        .with("index", misfit.at)
        .error()
}
