package config

import (
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	mask         = "********"
	maskedSecret = "is the mask that stands for a secret in a printed configuration; put the secret there"
)

// Write prints the effective configuration as YAML: every key, defaults
// included, always in the same order, with each secret replaced by asterisks.
// [Load] reads it again; [Config.Validate] asks for the secrets then. The
// configuration may be one that Validate refuses. The error is that of w.
func (c *Config) Write(w io.Writer) error {
	resolved := *c
	resolved.resolve()
	root := &yaml.Node{Kind: yaml.MappingNode}
	driver := false // is printed
	for _, s := range resolved.settings() {
		if strings.HasPrefix(s.path, "storage.") && !driver {
			driver = true
			if err := add(root, "storage."+resolved.Storage.Driver, masked(resolved.Storage.Parameters)); err != nil {
				return err
			}
		}
		var value any
		switch f := s.field.(type) {
		case *bool:
			value = *f
		case **bool:
			value = *f
		case structured:
			value = f.node()
		case *int:
			value = *f
		default:
			value = format(f)
		}
		if s.secret && value != "" {
			value = mask
		}
		if err := add(root, s.path, value); err != nil {
			return err
		}
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return err
	}
	return encoder.Close()
}

// add appends a value below root, with the sections above it. Keys of one
// section come one after the other, so a section is the last thing added.
func add(root *yaml.Node, path string, value any) error {
	parts := strings.Split(path, ".")
	for _, name := range parts[:len(parts)-1] {
		if n := len(root.Content); n == 0 || root.Content[n-2].Value != name {
			root.Content = append(root.Content,
				&yaml.Node{Kind: yaml.ScalarNode, Value: name}, &yaml.Node{Kind: yaml.MappingNode})
		}
		root = root.Content[len(root.Content)-1]
	}
	n := &yaml.Node{}
	if err := n.Encode(value); err != nil {
		return err
	}
	root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: parts[len(parts)-1]}, n)
	return nil
}

// masked copies a driver's parameters without their secrets.
func masked(parameters map[string]any) map[string]any {
	out := map[string]any{}
	for name, value := range parameters {
		if secretParameter(name) && value != nil && value != "" {
			out[name] = mask
		} else {
			out[name] = maskedBelow(value)
		}
	}
	return out
}

func maskedBelow(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return masked(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = maskedBelow(v[i])
		}
		return out
	}
	return value
}

// secretParameter errs on the side of hiding: S3 has accesskey, secretkey and
// sessiontoken; keyid only names a key that the service keeps.
func secretParameter(name string) bool {
	name = strings.ToLower(name)
	if name == "keyid" {
		return false
	}
	for _, word := range []string{"secret", "password", "token", "key", "credential"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
