Story::of(service())
    .batch([
        command(Jar::at("2"), json(r#"{"put":{"coins":3,"note":""}}"#)),
    ])
    .when(Jar::at("2"), json(r#"{"take":{"coins":1}}"#))
