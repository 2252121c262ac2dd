//! Text of a template to tokens.

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// As written; the reason for an error.
    pub(super) text: String,
    /// Byte offset.
    pub(super) at: usize,
    /// From 1.
    pub(super) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Text,
    LeftDelim,
    RightDelim,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    /// Any other character.
    Char,
    CharConstant,
    Bool,
    Number,
    Quoted,
    RawQuoted,
    /// `.name`
    Field,
    /// `$name`
    Variable,
    Identifier,
    /// `if`, `end`, `nil`, `.` and so on.
    Keyword,
    Error,
    Eof,
}

const KEYWORDS: &[&str] =
    &["block", "break", "continue", "define", "else", "end", "if", "range", "nil", "template", "with"];

impl Token {
    /// As messages show it.
    pub(super) fn shown(&self) -> String {
        match self.kind {
            TokenKind::Eof => "EOF".into(),
            TokenKind::Error => self.text.clone(),
            TokenKind::Keyword => format!("<{}>", self.text),
            _ if self.text.len() > 10 => format!("{:?}...", self.text.chars().take(10).collect::<String>()),
            _ => format!("{:?}", self.text),
        }
    }
}

/// All tokens; the last is `Eof` or `Error`.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, start: 0, pos: 0, parens: 0, tokens: Vec::new() };
    if let Err(reason) = lexer.run() {
        lexer.tokens.push(Token {
            kind: TokenKind::Error,
            text: reason,
            at: lexer.start,
            line: lexer.line(lexer.start),
        });
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    start: usize,
    pos: usize,
    parens: usize,
    tokens: Vec<Token>,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// `U+005B '['`
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

impl<'a> Lexer<'a> {
    fn line(&self, at: usize) -> usize {
        1 + self.text[..at].matches('\n').count()
    }
    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }
    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }
    fn emit(&mut self, kind: TokenKind) {
        let text = self.text[self.start..self.pos].to_owned();
        self.tokens.push(Token { kind, text, at: self.start, line: self.line(self.start) });
        self.start = self.pos;
    }
    fn skip_while(&mut self, accept: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&accept) {
            self.next();
        }
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let Some(found) = self.rest().find("{{") else {
                self.pos = self.text.len();
                if self.pos > self.start {
                    self.emit(TokenKind::Text);
                }
                self.emit(TokenKind::Eof);
                return Ok(());
            };
            let delim = self.pos + found;
            let after = &self.text[delim + 2..];
            let trim = after.starts_with('-') && after[1..].starts_with(is_space);
            let text_end =
                if trim { self.start + self.text[self.start..delim].trim_end_matches(is_space).len() } else { delim };
            self.pos = text_end;
            if self.pos > self.start {
                self.emit(TokenKind::Text);
            }
            self.start = delim;
            self.pos = delim + 2;
            let marker = if trim { 2 } else { 0 };
            if self.text[self.pos + marker..].starts_with("/*") {
                self.pos += marker;
                self.comment()?;
                continue;
            }
            self.emit(TokenKind::LeftDelim);
            self.pos += marker;
            self.start = self.pos;
            self.parens = 0;
            while !self.action()? {}
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        let end = self.rest().find("*/").ok_or("unclosed comment")?;
        self.pos += end + 2;
        let Some(trim) = self.right_delim() else { return Err("comment ends before closing delimiter".into()) };
        self.close(trim);
        self.start = self.pos;
        Ok(())
    }

    /// At `}}` or ` -}}`: whether it trims what follows.
    fn right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with(is_space) && rest[1..].starts_with("-}}") {
            return Some(true);
        }
        rest.starts_with("}}").then_some(false)
    }

    /// Steps over the delimiter, and over space after it if it trims.
    fn close(&mut self, trim: bool) {
        self.pos += if trim { 4 } else { 2 };
        if trim {
            self.skip_while(is_space);
        }
    }

    fn at_terminator(&self) -> bool {
        self.rest().starts_with("}}")
            || self.peek().is_none_or(|c| is_space(c) || matches!(c, '.' | ',' | '|' | ':' | ')' | '('))
    }

    /// One token inside of an action; true if it closed the action.
    fn action(&mut self) -> Result<bool, String> {
        if let Some(trim) = self.right_delim() {
            if self.parens > 0 {
                return Err("unclosed left paren".into());
            }
            if trim {
                self.start = self.pos + 2;
            }
            let end = self.start + 2;
            self.close(trim);
            let after = std::mem::replace(&mut self.pos, end);
            self.emit(TokenKind::RightDelim);
            self.pos = after;
            self.start = after;
            return Ok(true);
        }
        let Some(c) = self.next() else { return Err("unclosed action".into()) };
        match c {
            c if is_space(c) => {
                while self.right_delim() != Some(true) && self.peek().is_some_and(is_space) {
                    self.next();
                }
                self.emit(TokenKind::Space);
            }
            '=' => self.emit(TokenKind::Assign),
            ':' => {
                if self.next() != Some('=') {
                    return Err("expected :=".into());
                }
                self.emit(TokenKind::Declare);
            }
            '|' => self.emit(TokenKind::Pipe),
            '"' => self.quoted('"', "unterminated quoted string", TokenKind::Quoted)?,
            '\'' => self.quoted('\'', "unterminated character constant", TokenKind::CharConstant)?,
            '`' => {
                let end = self.rest().find('`').ok_or("unterminated raw quoted string")?;
                self.pos += end + 1;
                self.emit(TokenKind::RawQuoted);
            }
            '$' => self.name(TokenKind::Variable, TokenKind::Variable)?,
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                self.name(TokenKind::Keyword, TokenKind::Field)?;
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.pos = self.start;
                self.number()?;
            }
            c if is_word(c) => self.word()?,
            '(' => {
                self.parens += 1;
                self.emit(TokenKind::LeftParen);
            }
            ')' => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
                self.emit(TokenKind::RightParen);
            }
            c if c.is_ascii_graphic() => self.emit(TokenKind::Char),
            c => return Err(format!("unrecognized character in action: {}", code_point(c))),
        }
        Ok(false)
    }

    fn quoted(&mut self, quote: char, unterminated: &str, kind: TokenKind) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\\') if !matches!(self.peek(), None | Some('\n')) => {
                    self.next();
                }
                None | Some('\\' | '\n') => return Err(unterminated.into()),
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    /// After `.` or `$`: `bare` if nothing follows, else `named`.
    fn name(&mut self, bare: TokenKind, named: TokenKind) -> Result<(), String> {
        if self.at_terminator() {
            self.emit(bare);
            return Ok(());
        }
        self.skip_while(is_word);
        self.terminated()?;
        self.emit(named);
        Ok(())
    }

    fn terminated(&self) -> Result<(), String> {
        match self.peek() {
            Some(c) if !self.at_terminator() => Err(format!("bad character {}", code_point(c))),
            _ => Ok(()),
        }
    }

    fn word(&mut self) -> Result<(), String> {
        self.skip_while(is_word);
        let word = &self.text[self.start..self.pos];
        self.terminated()?;
        let kind = match word {
            "true" | "false" => TokenKind::Bool,
            // Only inside of `range` are these keywords, and nothing here can be ranged over.
            "break" | "continue" => TokenKind::Identifier,
            word if KEYWORDS.contains(&word) => TokenKind::Keyword,
            _ => TokenKind::Identifier,
        };
        self.emit(kind);
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if matches!(self.peek(), Some('+' | '-')) {
            self.next();
        }
        let rest = self.rest();
        let hex = rest.starts_with("0x") || rest.starts_with("0X");
        if hex {
            self.pos += 2;
        }
        let digit = |c: char| c == '_' || if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        self.skip_while(digit);
        if self.peek() == Some('.') {
            self.next();
            self.skip_while(digit);
        }
        if !hex && matches!(self.peek(), Some('e' | 'E')) {
            self.next();
            if matches!(self.peek(), Some('+' | '-')) {
                self.next();
            }
            self.skip_while(digit);
        }
        if self.peek().is_some_and(is_word) {
            self.next();
            return Err(format!("bad number syntax: {:?}", &self.text[self.start..self.pos]));
        }
        self.emit(TokenKind::Number);
        Ok(())
    }
}
