//! An order: every state against every command, and the guards of each.

use super::after;
use crate::samples::OrderCommand::*;
use crate::samples::{Line, Order, OrderCommand, OrderRejection, OrderStatus};

fn line(sku: &str, quantity: u32, price: i64) -> Line {
    Line { sku: sku.to_owned(), quantity, price }
}

fn place() -> OrderCommand {
    Place { lines: vec![line("pen", 2, 150), line("ink", 1, 700)] }
}

fn ship() -> OrderCommand {
    Ship { tracking: "T1".to_owned() }
}

fn cancel() -> OrderCommand {
    Cancel { reason: "changed my mind".to_owned() }
}

fn order(commands: &[OrderCommand]) -> Order {
    after(Order::default(), commands.iter().cloned()).unwrap()
}

#[test]
fn an_order_is_placed_paid_in_parts_and_shipped() {
    let placed = order(&[place(), Pay { amount: 400 }]);
    assert_eq!((placed.status, placed.total, placed.due()), (OrderStatus::Placed, 1000, 600));
    let shipped = after(placed, [Pay { amount: 600 }, ship()]).unwrap();
    assert_eq!((shipped.status, shipped.due()), (OrderStatus::Shipped, 0));
    assert_eq!(shipped.tracking.as_deref(), Some("T1"));
}

#[test]
fn a_cancelled_order_gives_the_money_back() {
    let cancelled = order(&[place(), Pay { amount: 400 }, cancel()]);
    assert_eq!((cancelled.status, cancelled.paid), (OrderStatus::Cancelled, 0));
}

/// Every state against every command: what goes on, and the reason of each that does not.
#[test]
fn each_refused_transition_has_its_reason() {
    use OrderRejection::*;
    let pay = Pay { amount: 1000 };
    let states: [(&[OrderCommand], [Option<OrderRejection>; 4]); 5] = [
        (&[], [None, Some(NotPlaced), Some(NotPlaced), Some(NotPlaced)]),
        (&[place()], [Some(AlreadyPlaced), None, Some(Underpaid { due: 1000 }), None]),
        (&[place(), pay.clone()], [Some(AlreadyPlaced), Some(AlreadyPaid), None, None]),
        (
            &[place(), pay.clone(), ship()],
            [Some(AlreadyPlaced), Some(AlreadyShipped), Some(AlreadyShipped), Some(AlreadyShipped)],
        ),
        (
            &[place(), cancel()],
            [Some(AlreadyPlaced), Some(AlreadyCancelled), Some(AlreadyCancelled), Some(AlreadyCancelled)],
        ),
    ];
    for (before, reasons) in states {
        for (command, reason) in [place(), pay.clone(), ship(), cancel()].into_iter().zip(reasons) {
            let said = after(order(before), [command.clone()]).err();
            assert_eq!(said, reason, "{command:?} after {before:?}");
        }
    }
}

#[test]
fn what_cannot_be_ordered_is_not_placed() {
    use OrderRejection::*;
    let cases = [
        (vec![], NoLines),
        (vec![line("", 1, 1)], MissingSku),
        (vec![line("pen", 1, 1), line("pen", 2, 1)], DuplicateSku { sku: "pen".to_owned() }),
        (vec![line("pen", 0, 1)], InvalidQuantity { sku: "pen".to_owned() }),
        (vec![line("pen", 1, 0)], InvalidPrice { sku: "pen".to_owned(), price: 0 }),
        (vec![line("pen", 2, i64::MAX)], TotalOverflow),
        (vec![line("pen", 1, i64::MAX), line("ink", 1, 1)], TotalOverflow),
    ];
    for (lines, reason) in cases {
        assert_eq!(after(Order::default(), [Place { lines: lines.clone() }]), Err(reason), "{lines:?}");
    }
}

#[test]
fn payments_are_more_than_nothing_and_at_most_what_is_due() {
    let placed = order(&[place(), Pay { amount: 400 }]);
    for amount in [0, -1] {
        let said = after(placed.clone(), [Pay { amount }]);
        assert_eq!(said, Err(OrderRejection::InvalidAmount { amount }));
    }
    let said = after(placed, [Pay { amount: 601 }]);
    assert_eq!(said, Err(OrderRejection::Overpaid { due: 600, amount: 601 }));
}

#[test]
fn nothing_is_shipped_without_a_number() {
    let paid = order(&[place(), Pay { amount: 1000 }]);
    assert_eq!(after(paid, [Ship { tracking: String::new() }]), Err(OrderRejection::MissingTracking));
}
