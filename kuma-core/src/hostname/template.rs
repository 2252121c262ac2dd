//! The template language of hostnames: Go's text/template as far as names need it.
//!
//! Known are the fields of [`Data`], `label "key"`, variables, pipelines, `if`, `with`, `range` (of which nothing here can
//! be ranged over), comparisons and the printing functions. Faults have the texts of the original, which users see in
//! violations and conditions.

mod exec;
mod lex;
mod parse;

use std::fmt;

use crate::meta::Labels;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: String,
    root: Vec<Node>,
}

/// What a template sees.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// `.Name`
    pub name: &'a str,
    /// `.DisplayName`
    pub display_name: &'a str,
    /// `.Namespace`
    pub namespace: &'a str,
    /// `.Mesh`
    pub mesh: &'a str,
    /// `.Zone`
    pub zone: &'a str,
    /// Where `label` looks.
    pub labels: LabelSource<'a>,
    /// What messages call the type of the data.
    pub type_name: &'a str,
}

/// Where the function `label` looks.
#[derive(Clone, Copy, Debug)]
pub enum LabelSource<'a> {
    /// In these labels; an absent one is a fault.
    Labels(&'a Labels),
    /// Nowhere: every label has this value.
    Always(&'a str),
}

/// A text that is no template: `template: :<line>: <reason>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: :{line}: {reason}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// A template that cannot be rendered with this data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: :{line}:{column}: executing \"\" at <{expression}>: {reason}")]
pub struct ExecError {
    /// From 1.
    pub line: usize,
    /// In bytes, from 0.
    pub column: usize,
    /// The expression, as written.
    pub expression: String,
    /// What is wrong.
    pub reason: String,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { text: text.to_owned(), root: parse::parse(text)? })
    }

    /// Renders it.
    ///
    /// # Errors
    /// A field or a label that is not there, or a function that is called wrongly.
    pub fn render(&self, data: &Data<'_>) -> Result<String, ExecError> {
        exec::render(&self.text, &self.root, data)
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Action(Pipe),
    Control { kind: Control, pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    If,
    With,
    Range,
}

impl Control {
    fn name(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

/// Commands, each fed with the result of the one before it; the result may go into variables.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pipe {
    at: usize,
    declares: Vec<String>,
    assigns: bool,
    commands: Vec<Command>,
}

/// A function or an operand with its arguments.
#[derive(Clone, Debug, PartialEq)]
struct Command {
    at: usize,
    words: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
struct Operand {
    at: usize,
    term: Term,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Dot,
    Nil,
    Bool(bool),
    Number {
        text: String,
        value: Number,
    },
    Text {
        quoted: String,
        value: String,
    },
    Function(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A`
    Variable(String, Vec<String>),
    /// `(pipe)` and fields of its result.
    Group(Pipe, Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Int(i64),
    Float(f64),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, names: &[String]| names.iter().try_for_each(|n| write!(f, ".{n}"));
        match &self.term {
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(value) => write!(f, "{value}"),
            Term::Number { text, .. } => f.write_str(text),
            Term::Text { quoted, .. } => f.write_str(quoted),
            Term::Function(name) => f.write_str(name),
            Term::Field(names) => fields(f, names),
            Term::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            Term::Group(pipe, names) => {
                write!(f, "({pipe})")?;
                fields(f, names)
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.words.iter().enumerate() {
            write!(f, "{}{word}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.declares.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.declares.join(", "))?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if i > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
