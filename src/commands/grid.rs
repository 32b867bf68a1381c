//! Rows of text in aligned columns.

/// The rows, each column as wide as its widest cell, the first `left` columns aligned left, the others right; an empty string if there are
/// no rows.
pub(super) fn grid(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let length = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            rows.iter()
                .filter_map(|row| row.get(i))
                .map(|cell| length(cell))
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width - length(cell));
            line += "  ";
            match i < left {
                true => line.extend([cell.as_str(), &gap]),
                false => line.extend([gap.as_str(), cell]),
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1"], ["längere", "100"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(grid(&rows, 1), "  a          1\n  längere  100\n");
        assert_eq!(grid(&[], 1), "");
    }
}
