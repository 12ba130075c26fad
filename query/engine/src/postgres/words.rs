//! The words of one statement, read one after the other.

use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::error::{Position, QueryError};

/// What is left to read of a statement.
pub(super) struct Words<'a> {
    words: &'a [&'a TokenWithSpan],
}

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [&'a TokenWithSpan]) -> Words<'a> {
        Words { words }
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(&first.token)
    }

    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.words.len()
    }

    /// Where the next one stands.
    pub(super) fn place(&self) -> Option<Location> {
        self.words.first().map(|word| word.span.start)
    }

    /// Whether the next one is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(
            self.words.first().map(|word| &word.token),
            Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword)
        )
    }

    /// Reads this keyword, where it is the next.
    pub(super) fn has(&mut self, keyword: &str) -> bool {
        let is = self.is(keyword);
        if is {
            self.next();
        }
        is
    }

    /// Whether the next one is this sign.
    pub(super) fn is_sign(&self, sign: &Token) -> bool {
        self.words.first().is_some_and(|word| word.token == *sign)
    }

    /// Reads this sign, where it is the next.
    pub(super) fn has_sign(&mut self, sign: &Token) -> bool {
        let is = self.is_sign(sign);
        if is {
            self.next();
        }
        is
    }

    /// Reads this keyword.
    ///
    /// # Errors
    /// `sql.syntax` where something else is next; so do those below.
    pub(super) fn expect(&mut self, keyword: &str) -> Result<(), QueryError> {
        if self.has(keyword) { Ok(()) } else { Err(self.unexpected(keyword)) }
    }

    /// A name, in lower case unless it is quoted.
    pub(super) fn name(&mut self) -> Result<String, QueryError> {
        let Some(Token::Word(word)) = self.words.first().map(|word| &word.token) else {
            return Err(self.unexpected("a name"));
        };
        self.next();
        Ok(if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() })
    }

    /// Names between commas.
    pub(super) fn names(&mut self) -> Result<Vec<String>, QueryError> {
        let mut names = vec![self.name()?];
        while self.has_sign(&Token::Comma) {
            names.push(self.name()?);
        }
        Ok(names)
    }

    /// A text, a word or a number: what it says.
    pub(super) fn told(&mut self) -> Result<String, QueryError> {
        let told = match self.words.first().map(|word| &word.token) {
            Some(Token::Word(word)) => word.value.clone(),
            Some(
                Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) | Token::Number(text, _),
            ) => text.clone(),
            _ => return Err(self.unexpected("a value")),
        };
        self.next();
        Ok(told)
    }

    /// Reads on past the end of a parenthesis that was opened before; gives where that end stands.
    pub(super) fn past_parenthesis(&mut self) -> Option<Location> {
        let mut depth = 1;
        loop {
            let place = self.place()?;
            match self.next()? {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(place);
            }
        }
    }

    /// A whole number, and whether it is below zero; `None` where none is next.
    pub(super) fn number(&mut self) -> Result<Option<(usize, bool)>, QueryError> {
        let is_negative = self.has_sign(&Token::Minus);
        let Some(Token::Number(digits, _)) = self.words.first().map(|word| &word.token) else {
            return if is_negative { Err(self.unexpected("a number")) } else { Ok(None) };
        };
        let number = digits.parse().map_err(|_| self.unexpected("a whole number"))?;
        self.next();
        Ok(Some((number, is_negative)))
    }

    /// Nothing is left.
    pub(super) fn end(&self) -> Result<(), QueryError> {
        if self.words.is_empty() { Ok(()) } else { Err(self.unexpected("the end of the statement")) }
    }

    /// What is next isn't what it must be.
    pub(super) fn unexpected(&self, wanted: &str) -> QueryError {
        let found = self.words.first().map_or_else(|| "its end".to_owned(), |word| word.token.to_string());
        let position = self.place().map(|place| Position { line: place.line, column: place.column });
        QueryError {
            position,
            ..QueryError::invalid("sql.syntax", format!("Expected: {wanted}, found: {found}"))
        }
    }
}
