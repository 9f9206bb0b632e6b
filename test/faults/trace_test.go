package faults

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// call is a system call in a trace of strace -f -y.
type call struct {
	thread, name, arguments string
	result                  string
}

var (
	beginning = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumed   = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
	ending    = regexp.MustCompile(`^(?s:(.*))\) += +(-?\w+).*$`)
	opened    = regexp.MustCompile(`^\d+<([^>]*)>`)
	dirNamed  = regexp.MustCompile(`(?:AT_FDCWD|\d+)<([^>]*)>, "([^"]*)"`)
	quoted    = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
)

// file is the path of the descriptor that the call is about.
func (c call) file() string {
	if m := opened.FindStringSubmatch(c.arguments); m != nil {
		return strings.TrimSuffix(m[1], " (deleted)")
	}
	return ""
}

// names are the paths that the call has relative to a folder.
func (c call) names() (all []string) {
	for _, m := range dirNamed.FindAllStringSubmatch(c.arguments, -1) {
		all = append(all, path.Join(m[1], m[2]))
	}
	return all
}

// data is what the call reads or writes.
func (c call) data() (all []byte) {
	for _, m := range quoted.FindAllStringSubmatch(c.arguments, -1) {
		all = append(all, unquoted(m[1])...)
	}
	return all
}

// unquoted undoes how strace writes bytes.
func unquoted(s string) []byte {
	escapes := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'v': '\v', 'f': '\f', '"': '"', '\\': '\\'}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		if plain, ok := escapes[s[i]]; ok {
			b = append(b, plain)
			continue
		}
		end := i
		for end < len(s) && end < i+3 && s[end] >= '0' && s[end] <= '7' {
			end++
		}
		n, _ := strconv.ParseUint(s[i:end], 8, 8)
		b = append(b, byte(n))
		i = end - 1
	}
	return b
}

// read calls begin and end with each call, in the order of the trace.
func read(trace string, begin, end func(call)) {
	waiting := make(map[string]call) // by thread
	for line := range strings.SplitSeq(trace, "\n") {
		var c call
		if m := beginning.FindStringSubmatch(line); m != nil {
			c = call{thread: m[1], name: m[2], arguments: m[3]}
			if head, unfinished := strings.CutSuffix(m[3], " <unfinished ...>"); unfinished {
				c.arguments = head
				waiting[c.thread] = c
				begin(c)
				continue
			}
			begin(c)
		} else if m := resumed.FindStringSubmatch(line); m != nil {
			c = waiting[m[1]]
			c.arguments += m[3]
		} else {
			continue
		}
		if m := ending.FindStringSubmatch(c.arguments); m != nil {
			c.arguments, c.result = m[1], m[2]
			end(c)
		}
	}
}

// promises checks in a trace of a berth that whatever it answers is durable.
type promises struct {
	root  string // of its storage
	index string // its file

	written map[string][]byte // by file: what was written and not synced
	syncing map[string][]byte // by thread: what its sync will have made durable
	journal map[string]bool   // records that are durable: what and where
	synced  map[string]bool   // files whose content is
	asked   map[string]*asked // by connection
	first   map[string][]byte // by connection: a byte that was read alone
	stage   bool              // all names in the stage are durable
	commits int               // of the index

	answers    int // that promise something
	syncs      int
	violations []string
}

// asked is a request.
type asked struct {
	method, target string
	commits        int // of the index, when it came
}

func newPromises(root, index string) *promises {
	return &promises{
		root: root, index: index, written: map[string][]byte{}, syncing: map[string][]byte{}, journal: map[string]bool{},
		synced: map[string]bool{}, asked: map[string]*asked{}, first: map[string][]byte{}, stage: true,
	}
}

func (p *promises) check(trace string) { read(trace, p.begin, p.end) }

func (p *promises) wrong(format string, arguments ...any) {
	p.violations = append(p.violations, fmt.Sprintf(format, arguments...))
}

// below is a path in the storage, "" for what is not promised: uploads, and what
// only berth itself uses.
func (p *promises) below(name string) string {
	rest, ok := strings.CutPrefix(name, p.root+"/")
	if !ok || strings.Contains(rest+"/", "/_uploads/") || strings.HasPrefix(path.Base(rest), ".berth-") || strings.HasPrefix(rest, ".berth-") {
		return ""
	}
	return rest
}

func (p *promises) begin(c call) {
	switch c.name {
	case "fdatasync", "fsync", "syncfs":
		p.syncing[c.thread] = p.written[c.file()]
	case "renameat2", "renameat", "rename", "unlinkat", "unlink":
		names := c.names()
		if len(names) == 0 {
			return
		}
		last := names[len(names)-1]
		if at := p.below(last); at != "" {
			p.changed(c.name, at)
		}
	case "write", "writev", "sendto":
		p.answer(c)
	}
}

// changed wants a change that others see to be durable before.
func (p *promises) changed(call, at string) {
	if strings.HasPrefix(call, "rename") {
		if !p.journal["put "+at] {
			p.wrong("%s is seen before it is durable", at)
		}
		return
	}
	for up := at; up != "."; up = path.Dir(up) {
		if p.journal["delete "+up] {
			return
		}
	}
	if path.Ext(at) == "" && path.Base(at) != "link" && path.Base(at) != "data" {
		return // a folder that nobody has used
	}
	p.wrong("%s is gone before that is durable", at)
}

func (p *promises) end(c call) {
	file := c.file()
	switch c.name {
	case "write", "pwrite64":
		if strings.HasPrefix(file, p.root+"/.berth-journal-") {
			p.written[file] = append(p.written[file], c.data()...)
		}
		delete(p.synced, file)
	case "linkat":
		if names := c.names(); len(names) == 2 && path.Dir(names[1]) == p.root+"/.berth-staged" {
			p.stage = false
			if !p.synced[names[0]] {
				p.wrong("%s gets a name in the stage before its content is durable", names[0])
			}
		}
	case "read":
		p.request(c)
	case "fdatasync", "fsync", "syncfs":
		p.durableNow(c, file)
	}
}

// durableNow takes up what a sync has made durable.
func (p *promises) durableNow(c call, file string) {
	p.syncs++
	if c.result != "0" {
		return
	}
	switch {
	case file == p.root+"/.berth-staged":
		p.stage = true
	case file == p.index:
		p.commits++
	case strings.HasPrefix(file, p.root+"/.berth-journal-"):
		made := p.syncing[c.thread]
		p.written[file] = p.written[file][min(len(made), len(p.written[file])):]
		for _, r := range journaled(made) {
			if r.kind == 2 && !p.stage {
				p.wrong("%s is in the journal before its name in the stage is durable", r.path)
			}
			p.journal[map[byte]string{1: "put ", 2: "put ", 3: "delete "}[r.kind]+r.path] = true
		}
	default:
		p.synced[file] = true
	}
}

// entry is a record of the journal.
type entry struct {
	kind byte
	path string
}

// journaled finds the records in what was written to a journal: see the package
// storage/local for what it looks like.
func journaled(b []byte) (all []entry) {
	const magic, block, header, fields = 0x62677270, 4096, 32, 21
	for at := 0; at+header <= len(b); at += block {
		if binary.LittleEndian.Uint32(b[at:]) != magic {
			continue
		}
		payload := b[at+header:]
		payload = payload[:min(len(payload), int(binary.LittleEndian.Uint32(b[at+28:])))]
		for len(payload) >= fields {
			name, data := int(binary.LittleEndian.Uint16(payload[15:])), int(binary.LittleEndian.Uint32(payload[17:]))
			if len(payload) < fields+name+data {
				break
			}
			all = append(all, entry{payload[0], string(payload[fields : fields+name])})
			payload = payload[fields+name+data:]
		}
	}
	return all
}

var (
	requestLine = regexp.MustCompile(`^(PUT|POST|PATCH|DELETE|GET|HEAD) (\S+) HTTP/1.1\r\n`)
	answerLine  = regexp.MustCompile(`^HTTP/1.1 (\d+) `)
	blobEnd     = regexp.MustCompile(`^/v2/(.+)/blobs/uploads/.*[?&]digest=sha256(?::|%3A)([0-9a-f]{64})`)
	manifestPut = regexp.MustCompile(`^/v2/(.+)/manifests/([^?]+)`)
)

func (p *promises) request(c call) {
	if !strings.Contains(c.file(), "socket:") && !strings.Contains(c.file(), "TCP") {
		return
	}
	// While a request is served, the server already waits for the first byte of
	// the next.
	data := append(p.first[c.file()], c.data()...)
	delete(p.first, c.file())
	if len(data) == 1 {
		p.first[c.file()] = data
	}
	if m := requestLine.FindSubmatch(data); m != nil {
		p.asked[c.file()] = &asked{string(m[1]), string(m[2]), p.commits}
	}
}

// answer wants what an answer promises to be durable before a byte of it is sent.
func (p *promises) answer(c call) {
	a := p.asked[c.file()]
	m := answerLine.FindSubmatch(c.data())
	if a == nil || m == nil {
		return
	}
	delete(p.asked, c.file())
	status, _ := strconv.Atoi(string(m[1]))
	const repositories = "docker/registry/v2/repositories/"
	switch {
	case status == http.StatusCreated && blobEnd.MatchString(a.target):
		m := blobEnd.FindStringSubmatch(a.target)
		p.answers++
		p.durable(a, "docker/registry/v2/blobs/sha256/"+m[2][:2]+"/"+m[2]+"/data", repositories+m[1]+"/_layers/sha256/"+m[2]+"/link")
	case status == http.StatusCreated && a.method == http.MethodPut && manifestPut.MatchString(a.target):
		m := manifestPut.FindStringSubmatch(a.target)
		p.answers++
		if encoded, byDigest := strings.CutPrefix(m[2], "sha256:"); byDigest {
			p.durable(a, repositories+m[1]+"/_manifests/revisions/sha256/"+encoded+"/link")
		} else {
			p.durable(a, repositories+m[1]+"/_manifests/tags/"+m[2]+"/current/link")
		}
		p.committed(a, 2) // that it has happened
	case status == http.StatusAccepted && a.method == http.MethodDelete:
		p.answers++
		p.committed(a, 4) // what is about to happen, and that it has
	}
}

func (p *promises) durable(a *asked, paths ...string) {
	for _, name := range paths {
		if !p.journal["put "+name] {
			p.wrong("%s %s is answered before %s is durable", a.method, a.target, name)
		}
	}
}

// committed wants so many syncs of the index since the request came.
func (p *promises) committed(a *asked, syncs int) {
	if got := p.commits - a.commits; got < syncs {
		p.wrong("%s %s is answered after %d syncs of the index, want %d", a.method, a.target, got, syncs)
	}
}

// doctored is a trace of one push, in which each line that has a text is replaced.
func doctored(replace, by string) string {
	const blob = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	data := "docker/registry/v2/blobs/sha256/aa/" + blob + "/data"
	link := "docker/registry/v2/repositories/a/app/_layers/sha256/" + blob + "/link"
	octal := func(b []byte) (s string) {
		for _, c := range b {
			s += fmt.Sprintf(`\%03o`, c)
		}
		return s
	}
	record := func(name string) []byte {
		b := append([]byte{1}, make([]byte, 14)...)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
		return append(append(binary.LittleEndian.AppendUint32(b, 1), name...), 'x')
	}
	payload := append(record(data), record(link)...)
	group := binary.LittleEndian.AppendUint32(nil, 0x62677270)
	group = append(group, make([]byte, 24)...)
	group = append(binary.LittleEndian.AppendUint32(group, uint32(len(payload))), payload...)
	lines := []string{
		`7 read(9<socket:[1]>, "P", 1) = 1`,
		`7 read(9<socket:[1]>, "UT /v2/a/app/blobs/uploads/1?digest=sha256:` + blob + ` HTTP/1.1\r\nHost: x", 4096) = 20`,
		`7 pwrite64(5</data/storage/.berth-journal-1>, "` + octal(group) + `", 4096, 4096) = 4096`,
		`7 fdatasync(5</data/storage/.berth-journal-1> <unfinished ...>`,
		`8 read(10<socket:[2]>, "GET /", 4096) = 5`,
		`7 <... fdatasync resumed>) = 0`,
		`7 renameat2(6</data/storage/docker/registry/v2/repositories/a/app/_uploads/1>, "data", 7</data/storage/docker/registry/v2/blobs/sha256/aa/` + blob + `>, "data", 0) = 0`,
		`7 renameat2(6</data/storage/` + path.Dir(link) + `>, ".berth-1.tmp", 6</data/storage/` + path.Dir(link) + `>, "link", 0) = 0`,
		`7 unlinkat(6</data/storage/docker/registry/v2/repositories/a/app/_uploads/1>, "startedat", 0) = 0`,
		`8 write(9<socket:[1]>, "HTTP/1.1 201 Created\r\nLocation: x", 30) = 30`,
	}
	if replace != "" {
		for i, line := range lines {
			if strings.Contains(line, replace) {
				lines[i] = by
			}
		}
	}
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return l == "" }), "\n")
}

// TestTraceChecked checks that the checker of traces finds what is wrong, and
// nothing in what is right.
func TestTraceChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what, replace, by string
		wrong             int
	}{
		{"what is right", "", "", 0},
		{"without a sync of the journal", "fdatasync", "", 4},
		{"with one that failed", "fdatasync resumed", "7 <... fdatasync resumed>) = -1 EIO (Input/output error)", 4},
		{"with one of another file", "fdatasync(5", "7 fdatasync(5</data/storage/other> <unfinished ...>", 4},
		{"without a record", "pwrite64", "", 4},
		{"with a name for what is not durable", "startedat", `7 linkat(6</data/storage/docker>, "data", 7</data/storage/.berth-staged>, "x", 0) = 0`, 1},
		{"with something gone", "startedat", `7 unlinkat(6</data/storage/docker/registry/v2/blobs/sha256/bb/b>, "data", 0) = 0`, 1},
	} {
		p := newPromises("/data/storage", "/data/catalog.db")
		p.check(doctored(test.replace, test.by))
		if len(p.violations) != test.wrong || p.answers != 1 {
			t.Errorf("%s: %d answers, %d violations, want 1 and %d:\n%s", test.what, p.answers, len(p.violations), test.wrong, strings.Join(p.violations, "\n"))
		}
	}
}
