Story::of(service())
    .when(Jar::at("1"), json(r#"{"put":{"coins":4,"note":""}}"#))
    .when(Jar::at("1"), json(r#"{"take":{"coins":1}}"#))
