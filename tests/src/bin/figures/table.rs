//! The table that figures end in.

/// A figure: what it is, what was measured, and what it is to be.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) measured: String,
    pub(crate) bound: &'static str,
}

impl Row {
    pub(crate) fn new(figure: impl Into<String>, measured: impl Into<String>, bound: &'static str) -> Self {
        Self { figure: figure.into(), measured: measured.into(), bound }
    }
}

/// Prints the table, as Markdown.
pub(crate) fn print(rows: &[Row]) {
    let widest = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).chars().count()).max().unwrap_or_default();
    let (figure, measured) = (widest(|row| &row.figure), widest(|row| &row.measured));
    println!("| {:figure$} | {:measured$} | bound", "figure", "measured");
    println!("|{}|{}|---", "-".repeat(figure + 2), "-".repeat(measured + 2));
    for row in rows {
        println!("| {:figure$} | {:measured$} | {}", row.figure, row.measured, row.bound);
    }
}
