//! A list of objects: what is asked for, and how its rows look.

use caps_adapters::web::form::{self, Form};
use caps_model::query::ORDERS_MAX;
use caps_model::{Cursor, Filter, Name, Object, Order, Query};
use maud::{Markup, html};

use super::super::catalogue::{Catalogue, Kind};
use super::super::shown::{Show, label};
use super::super::{cursor, input};

/// A list, as its address says.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// What is asked for; without a filter if what was typed is none.
    pub(super) query: Query,
    /// The columns, in order.
    pub(super) columns: Vec<Name>,
    /// Where a row leads: the beginning of the address before the id.
    pub(super) leads_to: &'static str,
    /// The filter as it was typed.
    pub(super) typed: String,
    /// What is wrong with what was typed.
    pub(super) complaint: Option<String>,
}

impl Listing {
    /// What the address asks for.
    pub(super) fn of(kind: &Kind, asked: &Form) -> Self {
        let typed = asked.get("q").unwrap_or_default().trim().to_owned();
        let mut query = Query::all(kind.entity.name.clone()).limit(PAGE_ROWS);
        let mut complaint = None;
        match typed.parse::<Filter>() {
            Ok(filter) => query.filter = filter,
            Err(error) => complaint = Some(error.to_string()),
        }
        for order in asked.filled("order").into_iter().flat_map(|order| order.split(',')).take(ORDERS_MAX) {
            match order.trim().parse::<Order>() {
                Ok(order) => query.order.push(order),
                Err(error) => complaint = complaint.or_else(|| Some(error.to_string())),
            }
        }
        query.after = asked.filled("after").and_then(cursor::read);
        if let Some(limit) = asked.filled("limit").and_then(|limit| limit.parse().ok()) {
            query = query.limit(u32::min(limit, PAGE_ROWS_MAX));
        }
        let known = |name: &str| input::name(name.trim()).filter(|name| kind.entity.attribute(name.as_str()).is_some());
        let chosen: Vec<Name> =
            asked.filled("columns").into_iter().flat_map(|names| names.split(',')).filter_map(known).take(COLUMNS_MAX).collect();
        let columns = if chosen.is_empty() { kind.columns() } else { chosen };
        Self { query, columns, leads_to: "/o/", typed, complaint }
    }

    /// The same list, elsewhere: the part of an address behind the question mark.
    pub(super) fn address(&self, order: Option<&str>, after: Option<&Cursor>) -> String {
        let order = order.map_or_else(|| self.order(), ToOwned::to_owned);
        let columns = self.columns.iter().map(Name::as_str).collect::<Vec<_>>().join(",");
        let after = after.map(cursor::written).unwrap_or_default();
        let limit = if self.query.limit == PAGE_ROWS { String::new() } else { self.query.limit.to_string() };
        let all = [("q", self.typed.as_str()), ("order", &order), ("columns", &columns), ("after", &after), ("limit", &limit)];
        form::query(all.into_iter().filter(|(_, value)| !value.is_empty()))
    }

    /// The order as it is typed.
    pub(super) fn order(&self) -> String {
        let one = |order: &Order| format!("{}{}", order.attribute, if order.descending { " desc" } else { "" });
        self.query.order.iter().map(one).collect::<Vec<_>>().join(",")
    }

    /// The table, with its rows, under this address.
    pub(super) fn table(&self, catalogue: &Catalogue, show: Show<'_>, objects: &[Object], path: &str) -> Markup {
        let kind = catalogue.kind(self.query.entity.as_str());
        let first = self.query.order.first();
        html! {
            div.wide {
                table {
                    thead { tr {
                        @for column in &self.columns {
                            @let current = first.filter(|order| order.attribute == *column);
                            @let descending = current.is_some_and(|order| order.descending);
                            @let next = if current.is_some() && !descending { format!("{column} desc") } else { column.to_string() };
                            @let sort = current.map(|_| if descending { "descending" } else { "ascending" });
                            th scope="col" aria-sort=[sort] {
                                a href={ (path) "?" (self.address(Some(&next), None)) } { (label(column.as_str())) }
                            }
                        }
                    } }
                    tbody #rows { @for object in objects { (self.row(kind, show, object)) } }
                }
            }
            p.none #none hidden[!objects.is_empty()] { "Nothing here." }
        }
    }

    /// One row.
    pub(super) fn row(&self, kind: Option<&Kind>, show: Show<'_>, object: &Object) -> Markup {
        html! {
            tr data-key=(object.id) {
                @for (place, column) in self.columns.iter().enumerate() {
                    @let cell = show.cell(kind, object, column);
                    @if place == 0 || column == "subject" {
                        @let nameless = object.values(column.as_str()).is_empty();
                        td data-label=(label(column.as_str())) { a href={ (self.leads_to) (object.id) } { @if nameless { "…" (&object.id.to_string()[20..]) } @else { (plain(object, column, &cell)) } } }
                    } @else if column == "due_at" {
                        td data-label=(label(column.as_str())) { (due(show, object)) }
                    } @else {
                        td data-label=(label(column.as_str())) { (cell) }
                    }
                }
            }
        }
    }
}

/// A link holds no other link: what refers to another object is text in it.
fn plain(object: &Object, column: &Name, cell: &Markup) -> Markup {
    match object.value(column.as_str()) {
        Some(value) if value.as_reference().is_some() => html! { (value) },
        _ => cell.clone(),
    }
}

/// When something is due, loud if that was before now.
fn due(show: Show<'_>, object: &Object) -> Markup {
    let closed = object.text("status") == Some("closed");
    match object.value("due_at").and_then(caps_model::Value::as_timestamp) {
        Some(due) if due < show.now && !closed => html! { strong.late { (show.distance(due)) } },
        Some(due) => show.distance(due),
        None => html! {},
    }
}

/// Rows of a page: two screens.
pub(super) const PAGE_ROWS: u32 = 50;

/// Rows of a page for who asks for more.
const PAGE_ROWS_MAX: u32 = 500;

const COLUMNS_MAX: usize = 16;
