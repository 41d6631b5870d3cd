Story::of(service())
    .given(Account::at("1"), [json(r#"{"opened":{"owner":"ann"}}"#)])
    .not_after(std::time::Duration::from_secs(1))
    .after(std::time::Duration::from_secs(2))
    .expecting(0)
    .when(Account::at("1"), json(r#"{"open":{"owner":"ann"}}"#))
    .batch([
        check(Account::at("1"), 0),
        command(Account::at("1"), json(r#"{"open":{"owner":"ann"}}"#)).expecting(0),
    ])
    .again("c1")
    .reuse("c1", Account::at("1"), json(r#"{"open":{"owner":"ann"}}"#))
    .crash()
    .by("bob")
    .void(Account::at("1"), "c1")
