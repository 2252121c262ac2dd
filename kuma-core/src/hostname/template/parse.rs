//! Tokens of a template to its tree.

use super::{
    Command, Control, Node, Number, Operand, ParseError, Pipe, Term,
    lex::{Token, TokenKind as T, tokens},
};

const FUNCTIONS: &[&str] = &[
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "label", "le", "len", "lt", "ne", "not", "or", "print",
    "printf", "println", "slice", "urlquery",
];

/// Deeper nesting than any name needs.
const MAX_DEPTH: usize = 64;

pub(super) fn parse(text: &str) -> Result<Vec<Node>, ParseError> {
    let mut parser = Parser { tokens: tokens(text), next: 0, action_line: None, variables: vec!["$".into()], depth: 0 };
    let mut root = Vec::new();
    while parser.peek().kind != T::Eof {
        match parser.text_or_action()? {
            Piece::Node(node) => root.push(node),
            Piece::End => return Err(parser.error("unexpected {{end}}")),
            Piece::Else => return Err(parser.error("unexpected {{else}}")),
        }
    }
    Ok(root)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    action_line: Option<usize>,
    variables: Vec<String>,
    depth: usize,
}

enum Piece {
    Node(Node),
    End,
    Else,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser {
    /// The next token; at the end the last one again and again.
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }
    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }
    fn skip_space(&mut self) {
        while self.peek().kind == T::Space {
            self.next += 1;
        }
    }
    fn take_non_space(&mut self) -> Token {
        self.skip_space();
        self.take()
    }
    fn is_keyword(&self, word: &str) -> bool {
        self.peek().kind == T::Keyword && self.peek().text == word
    }

    fn error(&self, reason: impl Into<String>) -> ParseError {
        let read = self.next.saturating_sub(1).min(self.tokens.len() - 1);
        ParseError { line: self.tokens[read].line, reason: reason.into() }
    }

    fn unexpected(&self, token: &Token, context: &str) -> ParseError {
        if token.kind != T::Error {
            return self.error(format!("unexpected {} in {context}", token.shown()));
        }
        let started = match self.action_line {
            Some(line) if line != token.line && token.text.ends_with(" action") => format!(" started at :{line}"),
            Some(line) if line != token.line => format!(" in action started at :{line}"),
            _ => String::new(),
        };
        self.error(format!("{}{started}", token.text))
    }

    fn text_or_action(&mut self) -> Parsed<Piece> {
        let token = self.take_non_space();
        match token.kind {
            T::Text => Ok(Piece::Node(Node::Text(token.text))),
            T::LeftDelim => {
                self.action_line = Some(token.line);
                let piece = self.action();
                self.action_line = None;
                piece
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Parsed<Piece> {
        self.skip_space();
        let keyword = if self.peek().kind == T::Keyword { self.peek().text.clone() } else { String::new() };
        let control = match keyword.as_str() {
            "if" => Control::If,
            "with" => Control::With,
            "range" => Control::Range,
            "end" => {
                self.next += 1;
                self.expect_close("end")?;
                return Ok(Piece::End);
            }
            "else" => {
                self.next += 1;
                self.skip_space();
                if !self.is_keyword("if") && !self.is_keyword("with") {
                    self.expect_close("else")?;
                }
                return Ok(Piece::Else);
            }
            "define" | "block" | "template" => {
                self.next += 1;
                return Err(self.error(format!("{{{{{keyword}}}}} is not supported in a hostname template")));
            }
            _ => return Ok(Piece::Node(Node::Action(self.pipeline("command", T::RightDelim)?))),
        };
        self.next += 1;
        self.control(control).map(Piece::Node)
    }

    fn expect_close(&mut self, context: &str) -> Parsed<()> {
        let token = self.take_non_space();
        if token.kind == T::RightDelim { Ok(()) } else { Err(self.unexpected(&token, context)) }
    }

    fn deeper<R>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<R>) -> Parsed<R> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn control(&mut self, kind: Control) -> Parsed<Node> {
        self.deeper(|p| p.control_body(kind))
    }

    fn control_body(&mut self, kind: Control) -> Parsed<Node> {
        let known = self.variables.len();
        let pipe = self.pipeline(kind.name(), T::RightDelim)?;
        let (then, end) = self.list()?;
        let mut otherwise = Vec::new();
        if matches!(end, Piece::Else) {
            let chained =
                (kind == Control::If && self.is_keyword("if")) || (kind == Control::With && self.is_keyword("with"));
            if chained {
                self.next += 1;
                otherwise.push(self.control(kind)?);
            } else {
                let (nodes, end) = self.list()?;
                if matches!(end, Piece::Else) {
                    return Err(self.error("expected end; found {{else}}"));
                }
                otherwise = nodes;
            }
        }
        self.variables.truncate(known);
        Ok(Node::Control { kind, pipe, then, otherwise })
    }

    /// Nodes up to `end` or `else`.
    fn list(&mut self) -> Parsed<(Vec<Node>, Piece)> {
        let mut nodes = Vec::new();
        while self.peek().kind != T::Eof {
            match self.text_or_action()? {
                Piece::Node(node) => nodes.push(node),
                end => return Ok((nodes, end)),
            }
        }
        self.next += 1;
        Err(self.error("unexpected EOF"))
    }

    fn pipeline(&mut self, context: &str, end: T) -> Parsed<Pipe> {
        self.skip_space();
        let mut pipe = Pipe { at: self.peek().at, ..Pipe::default() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.take_non_space();
            match token.kind {
                kind if kind == end => break,
                T::Bool
                | T::CharConstant
                | T::Field
                | T::Identifier
                | T::Number
                | T::RawQuoted
                | T::Quoted
                | T::Variable
                | T::LeftParen => {}
                T::Keyword if matches!(token.text.as_str(), "." | "nil") => {}
                _ => return Err(self.unexpected(&token, context)),
            }
            self.next -= 1;
            let command = self.command()?;
            pipe.commands.push(command);
        }
        if pipe.commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            let first = command.words.first().map(|w| &w.term);
            if matches!(first, Some(Term::Bool(_) | Term::Dot | Term::Nil | Term::Number { .. } | Term::Text { .. })) {
                return Err(self.error(format!("non executable command in pipeline stage {}", i + 1)));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =` or `$i, $x :=` at the front.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<()> {
        while self.peek().kind == T::Variable {
            let start = self.next;
            let variable = self.take();
            self.skip_space();
            match self.peek().kind {
                T::Assign | T::Declare => {
                    pipe.assigns = self.take().kind == T::Assign;
                    pipe.declares.push(variable.text.clone());
                    self.variables.push(variable.text);
                    return Ok(());
                }
                T::Char if self.peek().text == "," => {
                    self.next += 1;
                    pipe.declares.push(variable.text.clone());
                    self.variables.push(variable.text);
                    self.skip_space();
                    if context != "range" || pipe.declares.len() > 1 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    if self.peek().kind != T::Variable {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Parsed<Command> {
        self.skip_space();
        let mut command = Command { at: self.peek().at, words: Vec::new() };
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                command.words.push(operand);
            }
            let token = self.take();
            match token.kind {
                T::Space => {}
                T::RightDelim | T::RightParen => {
                    self.next -= 1;
                    break;
                }
                T::Pipe => break,
                _ => return Err(self.unexpected(&token, "operand")),
            }
        }
        if command.words.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(command)
    }

    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        while self.peek().kind == T::Field {
            let name = self.take().text[1..].to_owned();
            match &mut operand.term {
                Term::Field(names) | Term::Variable(_, names) | Term::Group(_, names) => names.push(name),
                _ => return Err(self.error(format!("unexpected . after term {:?}", operand.to_string()))),
            }
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.take_non_space();
        let term = match token.kind {
            T::Identifier => {
                if !FUNCTIONS.contains(&token.text.as_str()) {
                    return Err(self.error(format!("function {:?} not defined", token.text)));
                }
                Term::Function(token.text)
            }
            T::Keyword if token.text == "." => Term::Dot,
            T::Keyword if token.text == "nil" => Term::Nil,
            T::Variable => {
                if !self.variables.contains(&token.text) {
                    return Err(self.error(format!("undefined variable {:?}", token.text)));
                }
                Term::Variable(token.text, Vec::new())
            }
            T::Field => Term::Field(vec![token.text[1..].to_owned()]),
            T::Bool => Term::Bool(token.text == "true"),
            T::CharConstant => self.char_constant(token.text)?,
            T::Number => self.number(token.text)?,
            T::LeftParen => {
                Term::Group(self.deeper(|p| p.pipeline("parenthesized pipeline", T::RightParen))?, Vec::new())
            }
            T::Quoted => match unquote(&token.text[1..token.text.len() - 1]) {
                Some(value) => Term::Text { quoted: token.text, value },
                None => return Err(self.error("invalid syntax")),
            },
            T::RawQuoted => {
                let value = token.text[1..token.text.len() - 1].replace('\r', "");
                Term::Text { quoted: token.text, value }
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { at: token.at, term }))
    }

    fn char_constant(&self, text: String) -> Parsed<Term> {
        let value = unquote(&text[1..text.len() - 1]).unwrap_or_default();
        let mut chars = value.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Term::Number { value: Number::Int(i64::from(u32::from(c))), text }),
            _ => Err(self.error(format!("malformed character constant: {text}"))),
        }
    }

    fn number(&self, text: String) -> Parsed<Term> {
        let digits = text.replace('_', "");
        let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let int = hex.map_or_else(|| digits.parse().ok(), |hex| i64::from_str_radix(hex, 16).ok());
        let value = int.map(Number::Int).or_else(|| digits.parse().ok().map(Number::Float));
        match value {
            Some(value) => Ok(Term::Number { value, text }),
            None => Err(self.error(format!("illegal number syntax: {text:?}"))),
        }
    }
}

/// The text inside of quotes with its escapes resolved.
fn unquote(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escaped = match chars.next()? {
            'x' => code(&mut chars, 2)?,
            'u' => code(&mut chars, 4)?,
            'U' => code(&mut chars, 8)?,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            c @ ('\\' | '"' | '\'') => c,
            _ => return None,
        };
        out.push(escaped);
    }
    Some(out)
}

/// A character by its number in hexadecimal digits.
fn code(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let text: String = chars.by_ref().take(digits).collect();
    if text.chars().count() == digits { u32::from_str_radix(&text, 16).ok().and_then(char::from_u32) } else { None }
}
