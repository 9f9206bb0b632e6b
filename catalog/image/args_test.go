package image_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/catalog/image"
)

func TestKernelArgs(t *testing.T) {
	for _, tt := range []struct {
		name         string
		cmd          []string
		args, kernel []string
	}{
		{"none", nil, nil, nil},
		{"application only", []string{"/server", "-p", "80"}, []string{"/server", "-p", "80"}, nil},
		{"parameters without a separator", []string{"netdev.ip=1.2.3.4"}, []string{"netdev.ip=1.2.3.4"}, nil},
		{"both", []string{"netdev.ip=1.2.3.4", "--", "/server"}, []string{"/server"}, []string{"netdev.ip=1.2.3.4"}},
		{"kernel only", []string{"netdev.ip=1.2.3.4", "--"}, nil, []string{"netdev.ip=1.2.3.4"}},
		{"separator first", []string{"--", "/server", "--", "x"}, []string{"/server", "--", "x"}, nil},
		{"separator alone", []string{"--"}, nil, nil},
		{"second separator", []string{"a.b=c", "--", "sh", "--"}, []string{"sh", "--"}, []string{"a.b=c"}},
		{
			"list in one element",
			[]string{`vfs.fstab=[ "initrd0:/:extract" ]`, "--", "x"},
			[]string{"x"},
			[]string{`vfs.fstab=[ "initrd0:/:extract" ]`},
		},
		{
			"list split at spaces",
			[]string{"vfs.fstab=[", `"initrd0:/:extract"`, "]", "env.vars=[a=b", "c=d]", "--", "x"},
			[]string{"x"},
			[]string{"vfs.fstab=[", `"initrd0:/:extract"`, "]", "env.vars=[a=b", "c=d]"},
		},
		{"list not closed", []string{"a.b=[", "x", "--", "y"}, []string{"a.b=[", "x", "--", "y"}, nil},
		{"list closed too late", []string{"a.b=[", "--", "]"}, []string{"a.b=[", "--", "]"}, nil},
		{"program first", []string{"node", "--", "x.js"}, []string{"node", "--", "x.js"}, nil},
		{"program after a parameter", []string{"a.b=c", "sh", "--"}, []string{"a.b=c", "sh", "--"}, nil},
		{"assignment", []string{"A=b", "--", "x"}, []string{"A=b", "--", "x"}, nil},
		{"path", []string{"/etc/a.b=c", "--"}, []string{"/etc/a.b=c", "--"}, nil},
		{"flag without a value", []string{"a.b", "--"}, []string{"a.b", "--"}, nil},
		{"no library", []string{".b=c", "--"}, []string{".b=c", "--"}, nil},
		{"no parameter", []string{"a.=c", "--"}, []string{"a.=c", "--"}, nil},
		{"two dots", []string{"a.b.c=d", "--"}, []string{"a.b.c=d", "--"}, nil},
		{"empty value", []string{"a.b=", "--", "x"}, []string{"x"}, []string{"a.b="}},
		{"empty argument", []string{"", "--", "x"}, []string{"", "--", "x"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newContent()
			layer := desc(ociTar, c.blob([]byte("kernel")), kernelMark)
			image := mustImage(t, c, c.image(object{"config": object{"Cmd": tt.cmd}}, layer))
			p := image.Platforms[0]
			for _, got := range [][2][]string{{image.Args, image.KernelArgs}, {p.Args, p.KernelArgs}} {
				if !slices.Equal(got[0], tt.args) || !slices.Equal(got[1], tt.kernel) {
					t.Errorf("got %q and kernel %q, want %q and %q", got[0], got[1], tt.args, tt.kernel)
				}
			}
		})
	}
}

func TestEntrypointGoesBeforeCmd(t *testing.T) {
	c := newContent()
	layer := desc(ociTar, c.blob([]byte("kernel")), kernelMark)
	config := object{"config": object{"Entrypoint": []string{"a.b=c", "--"}, "Cmd": []string{"/app"}}}
	image := mustImage(t, c, c.image(config, layer))
	if !slices.Equal(image.Args, []string{"/app"}) || !slices.Equal(image.KernelArgs, []string{"a.b=c"}) {
		t.Errorf("got %q and kernel %q", image.Args, image.KernelArgs)
	}
}

var quoted = []struct {
	args []string
	want string
}{
	{nil, ""},
	{[]string{""}, "''"},
	{[]string{"/server", "-p", "8080"}, "/server -p 8080"},
	{[]string{"netdev.ip=172.44.0.2/24:172.44.0.1", "a@b%c+d,e_f"}, "netdev.ip=172.44.0.2/24:172.44.0.1 a@b%c+d,e_f"},
	{[]string{`vfs.fstab=[`, `"initrd0:/:extract"`, `]`}, `'vfs.fstab=[' '"initrd0:/:extract"' ']'`},
	{[]string{"it's", "'"}, `'it'\''s' ''\'''`},
	{[]string{"two words", "a\nb", "\t"}, "'two words' 'a\nb' '\t'"},
	{[]string{"$HOME", "`id`", "$(id)", `\`, "~", "*", "?", "#x", "!", "a;b", "a&b", "a|b", "<x>", "{a,b}", "(x)"},
		"'$HOME' '`id`' '$(id)' '\\' '~' '*' '?' '#x' '!' 'a;b' 'a&b' 'a|b' '<x>' '{a,b}' '(x)'"},
	{[]string{"größe", "\u00a0"}, "'größe' '\u00a0'"},
}

func TestQuoteArgs(t *testing.T) {
	for _, tt := range quoted {
		if got := image.QuoteArgs(tt.args); got != tt.want {
			t.Errorf("QuoteArgs(%q) = %s, want %s", tt.args, got, tt.want)
		}
	}
}

func TestQuoteArgsInShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell here")
	}
	var every strings.Builder
	for c := byte(1); c < 0x80; c++ {
		every.WriteByte(c)
	}
	for _, tt := range append(quoted, struct {
		args []string
		want string
	}{args: strings.Split(every.String(), "")}) {
		if len(tt.args) == 0 {
			continue // printf without arguments prints its format once.
		}
		out, err := exec.Command(sh, "-c", `printf '%s\0' `+image.QuoteArgs(tt.args)).Output()
		if err != nil {
			t.Errorf("sh: %v for %q", err, tt.args)
			continue
		}
		got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if !slices.Equal(got, tt.args) {
			t.Errorf("the shell reads %q, want %q", got, tt.args)
		}
	}
}
