from jaxstruc.small_angle.result import SaxsResult


def test_a_body_is_named_from_95_percent_on():
    for probability, body in ((0.95, "cube"), (0.94, "not determined")):
        types = {"sphere": 1 - probability, "cube": probability}
        assert SaxsResult("a.dat", "", "", "solved", "", types=types).body == body
    failed_result = SaxsResult("a.dat", "", "", "failed", "no fit")
    assert failed_result.body == "" and failed_result.distribution == {}
