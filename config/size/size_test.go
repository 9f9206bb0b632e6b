package size

import (
	"math"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "007": 7, "1024": 1024, "1KiB": 1 << 10, "1 KiB": 1 << 10, "64KiB": 64 << 10, "1536MiB": 1536 << 20, "10GiB": 10 << 30, "2TiB": 2 << 40,
		"9007199254740993": 1<<53 + 1, "9223372036854775807": math.MaxInt64, "8388607TiB": 8388607 << 40, "0GiB": 0,
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
		if again, err := Parse(Format(got)); err != nil || again != got {
			t.Errorf("%q: written as %s, read as %d, %v", text, Format(got), again, err)
		}
	}
	for _, text := range []string{
		"", " ", "GiB", "-1", "-1KiB", "1.5GiB", "1,5GiB", "1,000", "1e3", "0x10", "1_000", "1GB", "64kb", "64KIB", "1gib", "1K", "1Gi", "1B", "1 B", "1PiB", "1KiB ", "1KiBKiB", "1 2KiB",
		"٣", "3\x00", "lots", "NaN", "Inf", "8388608TiB", "9223372036854775808", "9999999999GiB", "99999999999999999999999", "17592186044416MiB",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q: read as %d", text, got)
		}
	}
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]struct{ format, text string }{
		0: {"0", "0 B"}, 1: {"1", "1 B"}, 1023: {"1023", "1023 B"}, 1024: {"1KiB", "1.0 KiB"}, 1025: {"1025", "1.0 KiB"}, 256 << 10: {"256KiB", "256.0 KiB"},
		3 << 20: {"3MiB", "3.0 MiB"}, 1536 << 20: {"1536MiB", "1.5 GiB"}, 10 << 30: {"10GiB", "10.0 GiB"}, 5 << 40: {"5TiB", "5.0 TiB"}, 1 << 50: {"1024TiB", "1024.0 TiB"},
		math.MaxInt64: {"9223372036854775807", "8388608.0 TiB"},
	} {
		if got := Format(n); got != want.format {
			t.Errorf("%d: written as %q, want %q", n, got, want.format)
		}
		if got := Text(n); got != want.text {
			t.Errorf("%d: for people %q, want %q", n, got, want.text)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0", "10GiB", "1 KiB", "8388608TiB", "1.5GiB", "9007199254740993"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		if n < 0 {
			t.Errorf("%q: %d", text, n)
		}
		if again, err := Parse(Format(n)); err != nil || again != n {
			t.Errorf("%q: read as %d, written as %s, read as %d, %v", text, n, Format(n), again, err)
		}
	})
}
