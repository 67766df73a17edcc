def test_x(deployed):
    print(list(deployed.bundle.rglob("*")))
    print((deployed.run / "metrics.jsonl").read_text())
