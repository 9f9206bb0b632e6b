package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/config/size"
)

// Size is a number of bytes. In the file and the environment it is a plain
// number, or one with a unit from KiB to TiB.
type Size int64

// String writes the size with the largest unit that divides it.
func (s Size) String() string { return size.Format(int64(s)) }

// Networks are addresses. In the environment they are separated by commas; in
// the file they are a list, or text like that.
type Networks []netip.Prefix

// String separates them by commas; one with a single address is written so.
func (n Networks) String() string {
	all := make([]string, len(n))
	for i, p := range n {
		all[i] = p.String()
		if p.IsSingleIP() {
			all[i] = p.Addr().String()
		}
	}
	return strings.Join(all, ",")
}

func parseNetworks(text string) (Networks, error) {
	var all Networks
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		if one == "" {
			continue
		}
		p, err := netip.ParsePrefix(one)
		if ip, ipErr := netip.ParseAddr(one); ipErr == nil && ip.Zone() == "" {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// kind says in words what a field accepts.
func kind(field any) string {
	switch field.(type) {
	case *string:
		return "text"
	case *bool, **bool:
		return "true or false"
	case *int:
		return "a whole number"
	case *time.Duration:
		return "a duration like 30s or 2m"
	case *Networks:
		return "addresses and networks like 10.0.0.0/8, separated by commas or in a list"
	case *Names:
		return "names, separated by commas or in a list"
	case *Hosts:
		return "names of hosts, separated by commas or in a list"
	case *Quotas:
		return "patterns of names with their quotas, like ci-*=1GiB or *=none, separated by commas or in a list"
	case *RuleSet:
		return "rules"
	case *RuleSets:
		return "namespaces with their rules"
	case *Metros:
		return "metros like fra=https://api.fra.example.com or fra/de=https://api.fra.example.com, separated by commas or in a list"
	case *Size:
		return "a size like 64KiB or a number of bytes"
	}
	panic(fmt.Sprintf("config: no kind for %T", field))
}

// parse sets a field from text. The error ends in what the field accepts.
func parse(field any, text string) error {
	var err error
	switch f := field.(type) {
	case structured:
		return parseStructured(f, text)
	case *string:
		*f = text
	case *bool:
		*f, err = parseBool(text)
	case **bool:
		var b bool
		b, err = parseBool(text)
		*f = &b
	case *int:
		*f, err = strconv.Atoi(text)
	case *time.Duration:
		*f, err = time.ParseDuration(text)
	case *Networks:
		*f, err = parseNetworks(text)
	case *Names:
		*f, err = parseNames(text)
	case *Hosts:
		*f, err = parseHosts(text)
	case *Quotas:
		*f, err = parseQuotas(text)
	case *Metros:
		*f, err = parseMetros(text)
	case *Size:
		var n int64
		n, err = size.Parse(text)
		*f = Size(n)
	}
	if err != nil {
		return fmt.Errorf("%q is not %s", text, kind(field))
	}
	return nil
}

// parseStructured reads YAML.
func parseStructured(f structured, text string) error {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return fmt.Errorf("%q is not YAML", shorten(text))
	}
	if len(document.Content) == 0 {
		return nil
	}
	var problems []error
	f.read(document.Content[0], func(_ *yaml.Node, path, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s"+format, append([]any{strings.TrimPrefix(path+": ", ": ")}, args...)...))
	})
	return errors.Join(problems...)
}

// formatStructured writes YAML on one line, nothing for what is not set.
func formatStructured(f structured) string {
	var n yaml.Node
	if n.Encode(f.node()) != nil || len(n.Content) == 0 {
		return ""
	}
	var flow func(*yaml.Node)
	flow = func(n *yaml.Node) {
		n.Style |= yaml.FlowStyle
		for _, below := range n.Content {
			flow(below)
		}
	}
	flow(&n)
	text, _ := yaml.Marshal(&n)
	return strings.Join(strings.Fields(string(text)), " ")
}

// parseBool takes what YAML takes, and not 1, yes or on: the file and the
// environment shall mean the same.
func parseBool(text string) (bool, error) {
	switch text {
	case "true", "True", "TRUE":
		return true, nil
	case "false", "False", "FALSE":
		return false, nil
	}
	return false, errors.New("not a boolean")
}

// format writes a field so that parse reads it again. A nil choice is empty.
func format(field any) string {
	switch f := field.(type) {
	case *string:
		return *f
	case *bool:
		return strconv.FormatBool(*f)
	case **bool:
		if *f == nil {
			return ""
		}
		return strconv.FormatBool(**f)
	case *int:
		return strconv.Itoa(*f)
	case *time.Duration:
		return formatDuration(*f)
	case *Networks:
		return f.String()
	case *Names:
		return f.String()
	case *Hosts:
		return f.String()
	case *Quotas:
		return f.String()
	case structured:
		return formatStructured(f)
	case *Metros:
		return f.String()
	case *Size:
		return f.String()
	}
	panic(fmt.Sprintf("config: no format for %T", field))
}

// formatDuration writes 168h where time.Duration writes 168h0m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// isList reports whether a setting holds several values.
func isList(field any) bool {
	switch field.(type) {
	case *Networks, *Names, *Hosts, *Quotas, *Metros:
		return true
	}
	return false
}
