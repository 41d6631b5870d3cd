//! An order: placed, paid (in one part or in several), shipped. Until it is shipped it can be cancelled, and what was
//! paid goes back.
//!
//! ```text
//!             pay, not all          pay the rest        ship
//! nothing ──place──► placed ──────────────────► paid ──────────► shipped
//!                      │                          │
//!                      └──────── cancel ──────────┴─► cancelled
//! ```
//!
//! Money is an integer of minor units. What is paid never exceeds the total, and nothing is shipped before all is paid.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use serde_json::{Map, Value};

use crate::aggregate::{Aggregate, Context, Upcaster};

/// The state of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// How far it has come.
    pub status: OrderStatus,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// What it costs, in minor units.
    pub total: i64,
    /// What has been paid and not gone back, in minor units.
    pub paid: i64,
    /// Under which number it was shipped.
    pub tracking: Option<String>,
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Nothing was placed yet.
    #[default]
    New,
    /// Placed, and not paid in full.
    Placed,
    /// Paid in full.
    Paid,
    /// On its way. Final.
    Shipped,
    /// Given up, the money back. Final.
    Cancelled,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What: an article, at most once in an order.
    pub sku: String,
    /// How many, more than 0.
    pub quantity: u32,
    /// The price of one, in minor units, more than 0.
    pub price: i64,
}

/// What may be asked of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OrderCommand {
    /// Order something.
    Place {
        /// What; at least one line.
        lines: Vec<Line>,
    },
    /// Pay all that is due, or a part of it.
    Pay {
        /// In minor units, more than 0 and at most what is due.
        amount: i64,
    },
    /// Hand it to the carrier; it must be paid in full.
    Ship {
        /// The carrier's number.
        tracking: String,
    },
    /// Give it up.
    Cancel {
        /// Why.
        reason: String,
    },
}

/// What may happen to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderEvent {
    /// It was placed.
    Placed {
        /// What was ordered.
        lines: Vec<Line>,
        /// What it costs, in minor units.
        total: i64,
    },
    /// Some of it, or all, was paid.
    Paid {
        /// In minor units.
        amount: i64,
    },
    /// It was shipped.
    Shipped {
        /// The carrier's number.
        tracking: String,
    },
    /// It was given up.
    Cancelled {
        /// Why.
        reason: String,
        /// What went back, in minor units.
        refunded: i64,
    },
}

/// Why an order says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderRejection {
    /// An order is placed once.
    #[error("the order has been placed before")]
    AlreadyPlaced,
    /// Nothing was placed yet.
    #[error("the order has not been placed")]
    NotPlaced,
    /// It is paid in full.
    #[error("the order is paid in full")]
    AlreadyPaid,
    /// It is on its way.
    #[error("the order has been shipped")]
    AlreadyShipped,
    /// It was given up.
    #[error("the order has been cancelled")]
    AlreadyCancelled,
    /// Nothing was ordered.
    #[error("an order has at least one line")]
    NoLines,
    /// An article without a name.
    #[error("a line has no sku")]
    MissingSku,
    /// The same article in two lines.
    #[error("{sku} comes twice")]
    DuplicateSku {
        /// The article.
        sku: String,
    },
    /// None of it was ordered.
    #[error("{sku}: the quantity is not more than 0")]
    InvalidQuantity {
        /// The article.
        sku: String,
    },
    /// Prices are more than 0.
    #[error("{sku}: price {price} is not more than 0")]
    InvalidPrice {
        /// The article.
        sku: String,
        /// What was asked for.
        price: i64,
    },
    /// The total would be larger than 2^63 - 1.
    #[error("the total is more than an order holds")]
    TotalOverflow,
    /// Payments are more than 0.
    #[error("amount {amount} is not more than 0")]
    InvalidAmount {
        /// What was to be paid.
        amount: i64,
    },
    /// More than is due.
    #[error("{amount} is more than the {due} that are due")]
    Overpaid {
        /// What is due.
        due: i64,
        /// What was to be paid.
        amount: i64,
    },
    /// To be shipped before all is paid.
    #[error("{due} are still due")]
    Underpaid {
        /// What is due.
        due: i64,
    },
    /// To be shipped without the carrier's number.
    #[error("the tracking number is missing")]
    MissingTracking,
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Rejection = OrderRejection;
    const UPCASTERS: &'static [Upcaster] =
        &[Upcaster { event: "cancelled", schema: 1, becomes: "cancelled", fields: refund_was_a_promise }];

    fn decide(&self, command: OrderCommand, _: &Context<'_>) -> Result<Vec<OrderEvent>, OrderRejection> {
        let event = match command {
            OrderCommand::Place { lines } => self.place(lines)?,
            OrderCommand::Pay { amount } => self.pay(amount)?,
            OrderCommand::Ship { tracking } => self.ship(tracking)?,
            OrderCommand::Cancel { reason } => self.cancel(reason)?,
        };
        Ok(vec![event])
    }

    fn evolve(mut self, event: &OrderEvent) -> Order {
        match event {
            OrderEvent::Placed { lines, total } => {
                self.status = OrderStatus::Placed;
                self.lines.clone_from(lines);
                self.total = *total;
            }
            OrderEvent::Paid { amount } => {
                self.paid += amount;
                if self.due() == 0 {
                    self.status = OrderStatus::Paid;
                }
            }
            OrderEvent::Shipped { tracking } => {
                self.status = OrderStatus::Shipped;
                self.tracking = Some(tracking.clone());
            }
            OrderEvent::Cancelled { refunded, .. } => {
                self.status = OrderStatus::Cancelled;
                self.paid -= refunded;
            }
        }
        self
    }
}

impl Order {
    /// What is still to be paid, in minor units. Never negative: `pay` refuses more than that.
    pub fn due(&self) -> i64 {
        self.total - self.paid
    }

    fn place(&self, lines: Vec<Line>) -> Result<OrderEvent, OrderRejection> {
        if self.status != OrderStatus::New {
            return Err(OrderRejection::AlreadyPlaced);
        }
        let total = total(&lines)?;
        Ok(OrderEvent::Placed { lines, total })
    }

    fn pay(&self, amount: i64) -> Result<OrderEvent, OrderRejection> {
        match self.status {
            OrderStatus::New => return Err(OrderRejection::NotPlaced),
            OrderStatus::Placed => {}
            OrderStatus::Paid => return Err(OrderRejection::AlreadyPaid),
            OrderStatus::Shipped => return Err(OrderRejection::AlreadyShipped),
            OrderStatus::Cancelled => return Err(OrderRejection::AlreadyCancelled),
        }
        if amount <= 0 {
            return Err(OrderRejection::InvalidAmount { amount });
        }
        if self.due() < amount {
            return Err(OrderRejection::Overpaid { due: self.due(), amount });
        }
        Ok(OrderEvent::Paid { amount })
    }

    fn ship(&self, tracking: String) -> Result<OrderEvent, OrderRejection> {
        match self.status {
            OrderStatus::New => return Err(OrderRejection::NotPlaced),
            OrderStatus::Placed => return Err(OrderRejection::Underpaid { due: self.due() }),
            OrderStatus::Paid => {}
            OrderStatus::Shipped => return Err(OrderRejection::AlreadyShipped),
            OrderStatus::Cancelled => return Err(OrderRejection::AlreadyCancelled),
        }
        if tracking.is_empty() {
            return Err(OrderRejection::MissingTracking);
        }
        Ok(OrderEvent::Shipped { tracking })
    }

    fn cancel(&self, reason: String) -> Result<OrderEvent, OrderRejection> {
        match self.status {
            OrderStatus::New => Err(OrderRejection::NotPlaced),
            OrderStatus::Placed | OrderStatus::Paid => Ok(OrderEvent::Cancelled { reason, refunded: self.paid }),
            OrderStatus::Shipped => Err(OrderRejection::AlreadyShipped),
            OrderStatus::Cancelled => Err(OrderRejection::AlreadyCancelled),
        }
    }
}

/// Schema 1 called it `refund`, which readers of the feed took for money that was still to be sent.
fn refund_was_a_promise(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some(refund) = fields.remove("refund") {
        fields.insert("refunded".to_owned(), refund);
    }
    fields
}

/// What these lines cost together, if they can be ordered.
fn total(lines: &[Line]) -> Result<i64, OrderRejection> {
    if lines.is_empty() {
        return Err(OrderRejection::NoLines);
    }
    let mut skus = BTreeSet::new();
    let mut total: i64 = 0;
    for Line { sku, quantity, price } in lines {
        if sku.is_empty() {
            return Err(OrderRejection::MissingSku);
        }
        if !skus.insert(sku) {
            return Err(OrderRejection::DuplicateSku { sku: sku.clone() });
        }
        if *quantity == 0 {
            return Err(OrderRejection::InvalidQuantity { sku: sku.clone() });
        }
        if *price <= 0 {
            return Err(OrderRejection::InvalidPrice { sku: sku.clone(), price: *price });
        }
        let cost = price.checked_mul(i64::from(*quantity)).ok_or(OrderRejection::TotalOverflow)?;
        total = total.checked_add(cost).ok_or(OrderRejection::TotalOverflow)?;
    }
    Ok(total)
}
