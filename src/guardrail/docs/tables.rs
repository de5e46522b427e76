//! The tables of a document.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A table; every cell is what a reader sees, without blanks around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The byte at which it begins.
    pub at: usize,
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// A row of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The byte at which it begins.
    pub at: usize,
    pub cells: Vec<String>,
}

/// Returns the tables of a text, in the order in which they stand there.
pub fn tables(text: &str) -> Vec<Table> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_GFM
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut tables: Vec<Table> = Vec::new();
    let mut row = Row::default();
    let mut cell: Option<String> = None;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Table(_)) => tables.push(Table { at: range.start, ..Table::default() }),
            Event::Start(Tag::TableRow) => row = Row { at: range.start, cells: Vec::new() },
            Event::Start(Tag::TableHead) => row = Row::default(),
            Event::Start(Tag::TableCell) => cell = Some(String::new()),
            Event::End(TagEnd::TableCell) => {
                row.cells.push(cell.take().unwrap_or_default().trim().to_owned());
            }
            Event::End(TagEnd::TableHead) => {
                if let Some(table) = tables.last_mut() {
                    table.columns = std::mem::take(&mut row.cells);
                }
            }
            Event::End(TagEnd::TableRow) => {
                if let Some(table) = tables.last_mut() {
                    table.rows.push(std::mem::take(&mut row));
                }
            }
            Event::Text(said) | Event::Code(said) => {
                if let Some(cell) = &mut cell {
                    cell.push_str(&said);
                }
            }
            _ => {}
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_they_are_shown() {
        let text = "x\n\n| A | `b` |\n|---|:--|\n| *c* d | `e\\|f` |\n| g |\n\n```\n| no | table |\n|-|-|\n```\n\nH\n-\n";
        let found = tables(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].at, &found[0].columns[..]), (3, &["A".to_owned(), "b".to_owned()][..]));
        let cells: Vec<_> = found[0].rows.iter().map(|row| row.cells.join(" & ")).collect();
        assert_eq!(cells, ["c d & e|f", "g & "]);
        assert!(text[found[0].rows[1].at..].starts_with("| g |"));
    }
}
