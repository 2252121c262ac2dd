//! Tables: left-aligned columns with three spaces between, the last column as it is.

/// Spaces between two columns.
const GAP: usize = 3;

/// A table; `header` first. Each line ends with a newline.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |cell: &str| cell.chars().count();
    let columns = header.len();
    let mut widths: Vec<usize> = header.iter().map(|h| width(h)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate().take(columns) {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let mut out = String::new();
    let header: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < columns {
                out.extend(std::iter::repeat_n(' ', widths[column] - width(cell) + GAP));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["default".into(), String::new()], vec!["m".into(), "5m".into()]];
        assert_eq!(table(&["MESH", "AGE"], &rows), "MESH      AGE\ndefault   \nm         5m\n");
    }
}
