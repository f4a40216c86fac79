from rlfr_mm.grading import Item, grade


def test_minerva_reads_powers_of_ten_with_its_own_tolerance():
    def verdict(answer, gold, rule):
        return grade(Item(f"\\boxed{{{answer}}}", gold, "minerva_math"), rule).correct

    for rule in ("strict", "official"):
        for answer in ("4.5 \\times 10^{33}", "4.5 \\cdot 10^{33} \\text{ erg}", "4.5\\times10^{33}\\,\\mathrm{m}"):
            assert verdict(answer, "4.5e33", rule), answer
        assert not verdict("4.6 \\times 10^{33}", "4.5e33", rule)
        assert not verdict("0", "1.325e-27", rule) and not verdict("1e-20", "7.4e-12", rule)
        assert verdict("0.00150001", "0.0015", rule) and not verdict("0.0016", "0.0015", rule)
