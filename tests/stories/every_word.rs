Story::of(service())
    .by("bob")
    .void(Account::at("1"), "c1")
    .by("bob")
    .when(Account::at("1"), json(r#"{"open":{"owner":"ann"}}"#))
    .expecting(0)
    .when(Account::at("1"), json(r#"{"open":{"owner":"ann"}}"#))
    .crash()
    .reuse("c1", Account::at("1"), json(r#"{"open":{"owner":"ann"}}"#))
    .not_after(std::time::Duration::from_secs(1))
    .batch([
        command(Account::at("1"), json(r#"{"open":{"owner":"ann"}}"#)).expecting(0),
        check(Account::at("1"), 0),
    ])
    .after(std::time::Duration::from_secs(1))
    .again("c1")
