//! An order: placed, paid, shipped; or given up, and the money goes back.

use hapax::Aggregate;
use hapax::samples::OrderCommand::*;
use hapax::samples::{Line, Order};
use hapax::testing::{Story, everywhere};

use crate::{assert_story, service};

fn lines() -> Vec<Line> {
    let line = |sku: &str, quantity, price| Line { sku: sku.to_owned(), quantity, price };
    vec![line("pen", 2, 150), line("ink", 1, 700)]
}

fn shipped(story: Story) -> Story {
    story
        .when(Order::at("7"), Place { lines: lines() })
        .when(Order::at("7"), Ship { tracking: "T1".to_owned() })
        .rejected("underpaid")
        .when(Order::at("7"), Pay { amount: 400 })
        .when(Order::at("7"), Pay { amount: 700 })
        .rejected("overpaid")
        .when(Order::at("7"), Pay { amount: 600 })
        .when(Order::at("7"), Ship { tracking: "T1".to_owned() })
        .when(Order::at("7"), Cancel { reason: "too late".to_owned() })
        .rejected("already_shipped")
        .show(Order::at("7"))
}

#[test]
fn an_order_is_shipped_when_it_is_paid() {
    assert_story("story__order_shipped", &everywhere(service(), shipped));
}

fn cancelled(story: Story) -> Story {
    story
        .when(Order::at("7"), Place { lines: lines() })
        .when(Order::at("7"), Pay { amount: 400 })
        .when(Order::at("7"), Cancel { reason: "changed my mind".to_owned() })
        .when(Order::at("7"), Pay { amount: 600 })
        .rejected("already_cancelled")
        .when(Order::at("7"), Place { lines: lines() })
        .rejected("already_placed")
}

#[test]
fn a_cancelled_order_gives_the_money_back() {
    assert_story("story__order_cancelled", &everywhere(service(), cancelled));
}
