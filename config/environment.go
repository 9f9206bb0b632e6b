package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// EnvPrefix begins every variable that berth reads. After it comes the
	// path of a key in upper case, its parts joined by an underscore:
	// BERTH_HTTP_TLS_KEY.
	EnvPrefix = "BERTH_"
	// EnvFile is the variable for the path of the configuration file. It is no
	// key: [Load] leaves it to its caller.
	EnvFile = EnvPrefix + "CONFIG"
	// EnvHost and EnvToken are for the commands that are clients: which registry is
	// meant, and the token for it. They are no keys either.
	EnvHost  = EnvPrefix + "HOST"
	EnvToken = EnvPrefix + "TOKEN"
)

// notKeys are the variables that set no key.
var notKeys = []string{EnvFile, EnvHost, EnvToken}

func envName(path string) string {
	return EnvPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(path))
}

// kubernetes recognises the variables that Kubernetes sets in every container
// of a namespace for a service called berth, or berth-something. They are not
// meant for berth, and refusing them would keep it from starting there.
var kubernetes = regexp.MustCompile(
	`^BERTH_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=` +
		`|^BERTH_([A-Z0-9_]+_)?PORT=(tcp|udp|sctp)://`)

// variable is one of a storage driver: its parameter by path, or no path if
// it only names the driver.
type variable struct {
	name, driver string
	path         []string
	value        string
}

// loadEnvironment sets what the variables of environ say.
func (c *Config) loadEnvironment(environ []string, p *problems) {
	known := map[string]bool{EnvPrefix + "STORAGE": true}
	values := map[string]string{} // the last one counts
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if ok && strings.HasPrefix(name, EnvPrefix) && !slices.Contains(notKeys, name) && !kubernetes.MatchString(entry) {
			values[name] = value
		}
	}
	c.addWebhooksOf(values)
	byName := map[string]setting{}
	for _, s := range c.settings() {
		byName[envName(s.path)] = s
		known[envName(s.path)] = true
	}
	for _, k := range driverKeys {
		known[k.Env] = true
	}
	var driver []variable
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		if s, ok := byName[name]; ok {
			if err := parse(s.field, value); err != nil {
				p.add(name, "%w", err)
				continue
			}
			c.sources[s.path] = source{name, format(s.field)}
			continue
		}
		if v, ok := driverVariable(name, value); ok {
			driver = append(driver, v)
			continue
		}
		if why := refusedVariable(name); why != "" {
			p.add(name, "%s", why)
			continue
		}
		p.add(shorten(name), "unknown variable; %s", suggest(shorten(name), known))
	}
	c.loadDriver(driver, p)
}

func refusedVariable(name string) string {
	for path, why := range refused {
		if envName(path) == name {
			return why
		}
	}
	return ""
}

// driverVariable reads BERTH_STORAGE and BERTH_STORAGE_<DRIVER>_<PARAMETER>.
func driverVariable(name, value string) (variable, bool) {
	if name == EnvPrefix+"STORAGE" {
		return variable{name: name, driver: value}, true
	}
	rest, ok := strings.CutPrefix(name, EnvPrefix+"STORAGE_")
	if !ok {
		return variable{}, false
	}
	parts := strings.Split(strings.ToLower(rest), "_")
	if drivers[parts[0]] == "" || len(parts) == 1 || slices.Contains(parts, "") {
		return variable{}, false
	}
	return variable{name, parts[0], parts[1:], value}, true
}

// loadDriver sets the storage driver and its parameters. A driver named here
// takes the place of another one from the file, parameters included.
func (c *Config) loadDriver(variables []variable, p *problems) {
	first := map[string]string{} // the variable that names a driver
	for _, v := range variables {
		driver := drivers[v.driver]
		if driver == "" {
			p.add(v.name, "unknown driver %q; berth has %s", shorten(v.driver), driverNames)
			return
		}
		for other, name := range first {
			if other != driver {
				p.add(v.name, "%s names another storage driver; there can be only one", name)
				return
			}
		}
		if first[driver] == "" {
			first[driver] = v.name
			if c.Storage.Driver != driver {
				c.Storage.Driver, c.Storage.Parameters = driver, nil
			}
			c.sources["storage."+driver] = source{where: v.name}
		}
		if len(v.path) == 0 {
			continue
		}
		if c.Storage.Parameters == nil {
			c.Storage.Parameters = map[string]any{}
		}
		if err := put(c.Storage.Parameters, v.path, scalar(v.value)); err != nil {
			p.add(v.name, "%w", err)
		}
		c.sources["storage."+driver+"."+v.path[0]] = source{where: v.name}
	}
}

// put sets a parameter by path, making the mappings above it.
func put(parameters map[string]any, path []string, value any) error {
	for i, name := range path[:len(path)-1] {
		below, ok := parameters[name].(map[string]any)
		if !ok {
			if parameters[name] != nil {
				return fmt.Errorf("%s is a value of its own and can have nothing below it", strings.Join(path[:i+1], "."))
			}
			below = map[string]any{}
			parameters[name] = below
		}
		parameters = below
	}
	parameters[path[len(path)-1]] = value
	return nil
}

// scalar reads a value as YAML would: true and 8 have a type, quotes make
// text. Anything that would not be printed as it was given stays text, so that
// a key like 0123 or 1e5 reaches the driver as it is.
func scalar(text string) any {
	var document yaml.Node
	if yaml.Unmarshal([]byte(text), &document) != nil || len(document.Content) == 0 {
		return text
	}
	n := document.Content[0]
	if n.Kind != yaml.ScalarNode {
		return text
	}
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		return n.Value
	}
	var value any
	if n.Decode(&value) != nil || fmt.Sprint(value) != text {
		return text
	}
	return value
}
