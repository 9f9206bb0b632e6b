package peers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/berth-oci/berth/test/harness"
)

// Berth is the berth of this module, built now.
func Berth() (*Program, error) {
	binary, err := harness.NewProgram("", "github.com/berth-oci/berth/cmd/berth").Path()
	if err != nil {
		return nil, err
	}
	return berthAt("berth", "berth of this folder", binary), nil
}

func berthAt(name, about, binary string) *Program {
	return &Program{
		Name: name, About: about, binary: binary,
		Durable: "everything that it promised: content, links and tags, the entries of all folders above, and the index",
		command: func(p Place) (args, env []string) {
			args = []string{binary, "serve", "--listen", p.Address, "--data", p.Data}
			if !p.Logs {
				env = append(env, "BERTH_LOG_ACCESS=false")
			}
			if p.Pair != nil {
				env = append(env, "BERTH_HTTP_TLS_CERTIFICATE="+p.Pair.Certificate, "BERTH_HTTP_TLS_KEY="+p.Pair.Key)
			}
			return args, env
		},
	}
}

// With is the program with more in its environment.
func (p *Program) With(variables ...string) *Program {
	more := *p
	more.command = func(place Place) (args, env []string) {
		args, env = p.command(place)
		return args, append(env, variables...)
	}
	return &more
}

// Run runs a command of a berth to its end, and returns what it prints.
func (p *Program) Run(args ...string) ([]byte, error) {
	cmd := exec.Command(p.binary, args...)
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %w: %s", p.Name, strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}

// Distribution is the registry of distribution, at the version of which berth
// embeds parts, built now. Files are on disk as berth's are.
func Distribution() (*Program, error) {
	binary, err := harness.NewProgram(".ci/peers.mod", "github.com/distribution/distribution/v3/cmd/registry").Path()
	if err != nil {
		return nil, err
	}
	return &Program{
		Name: "distribution", About: "distribution's registry, with files",
		Durable: "the content of files and their names, not the folders that were made for them",
		prepare: func(p Place) error {
			return os.WriteFile(filepath.Join(p.Data, "config.yml"), []byte(distributionConfig(p)), 0o600)
		},
		command: func(p Place) (args, env []string) {
			// Nobody listens for traces; it would try all the time.
			return []string{binary, "serve", filepath.Join(p.Data, "config.yml")}, []string{"OTEL_TRACES_EXPORTER=none"}
		},
	}, nil
}

func distributionConfig(p Place) string {
	level, disabled := "info", false
	if !p.Logs {
		level, disabled = "error", true
	}
	c := fmt.Sprintf(`version: 0.1
log: {level: %s, accesslog: {disabled: %t}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http:
  addr: %s
  secret: benchmark
`, level, disabled, filepath.Join(p.Data, "storage"), p.Address)
	if p.Pair != nil {
		c += fmt.Sprintf("  tls: {certificate: %q, key: %q}\n", p.Pair.Certificate, p.Pair.Key)
	}
	return c
}

// ErrNotInstalled is returned for a program that is not on this machine.
var ErrNotInstalled = errors.New("not installed")

// Nginx serves files with sendfile. The error is ErrNotInstalled where it is
// not.
func Nginx() (*Program, error) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, fmt.Errorf("nginx: %w", ErrNotInstalled)
		}
	}
	return &Program{
		Name: "nginx", About: "nginx, which sends blobs as files", Static: true,
		Durable: "it takes no pushes",
		prepare: func(p Place) error {
			return os.WriteFile(filepath.Join(p.Data, "nginx.conf"), []byte(nginxConfig(p)), 0o600)
		},
		command: func(p Place) (args, env []string) {
			return []string{binary, "-p", p.Data, "-c", filepath.Join(p.Data, "nginx.conf"), "-e", "stderr"}, nil
		},
	}, nil
}

// nginxConfig has nginx run in the foreground, as the user who starts it, with
// a worker for each processor.
func nginxConfig(p Place) string {
	access, secure := "off", ""
	if p.Logs {
		access = "access.log"
	}
	listen := p.Address
	if p.Pair != nil {
		listen += " ssl"
		secure = fmt.Sprintf("ssl_certificate %q; ssl_certificate_key %q;", p.Pair.Certificate, p.Pair.Key)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	return fmt.Sprintf(`daemon off;
%s
worker_processes auto;
pid nginx.pid;
events { worker_connections 1024; }
http {
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000;
	access_log %s;
	client_body_temp_path temporary;
	proxy_temp_path temporary;
	fastcgi_temp_path temporary;
	uwsgi_temp_path temporary;
	scgi_temp_path temporary;
	default_type application/octet-stream;
	server {
		listen %s;
		%s
		root %q;
	}
}
`, user, access, listen, secure, p.Data)
}

// Given is a peer as a flag names it: name=command. A command with {address} and
// {data} is started with these replaced; without, it is a berth, and serve with
// its flags is added. {certificate} and {key}, if it has them, are for TLS; a
// command without them has none.
func Given(flag string) (*Program, error) {
	name, command, ok := strings.Cut(flag, "=")
	words := strings.Fields(command)
	if !ok || name == "" || len(words) == 0 {
		return nil, fmt.Errorf("--peer %s: it wants a name and a command, like old=/usr/local/bin/berth", flag)
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return nil, fmt.Errorf("--peer %s: %w", flag, err)
	}
	if binary, err := filepath.Abs(words[0]); err == nil && strings.Contains(words[0], "/") {
		words[0] = binary // it is started in another folder
	}
	if !strings.Contains(command, "{address}") {
		if len(words) > 1 {
			return nil, fmt.Errorf("--peer %s: a command with arguments says where {address} and {data} go", flag)
		}
		return berthAt(name, "berth at "+words[0], words[0]), nil
	}
	return &Program{
		Name: name, About: command, Durable: "not known",
		command: func(p Place) (args, env []string) {
			replace := []string{"{address}", p.Address, "{data}", p.Data}
			if p.Pair != nil {
				replace = append(replace, "{certificate}", p.Pair.Certificate, "{key}", p.Pair.Key)
			}
			for _, word := range words {
				args = append(args, strings.NewReplacer(replace...).Replace(word))
			}
			return args, nil
		},
	}, nil
}
