package images

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/registry/access"
)

// amounts are what a quota limits, and what is used of it. What berth has not
// (instances, memory, …) is 0.
type amounts struct {
	// ImageStorage is in bytes; in hard, it is left out where there is no limit.
	ImageStorage  *int64 `json:"image_storage_bytes,omitempty"`
	Images        *int64 `json:"images,omitempty"`
	Instances     int64  `json:"instances"`
	LiveInstances int64  `json:"live_instances"`
	LiveVCPUs     int64  `json:"live_vcpus"`
	LiveMemory    int64  `json:"live_memory_mb"`
	ServiceGroups int64  `json:"service_groups"`
	Services      int64  `json:"services"`
	Volumes       int64  `json:"volumes"`
	TotalVolume   int64  `json:"total_volume_mb"`
}

// limits are the platform's for what berth has not.
type limits struct {
	MinMemory    int64 `json:"min_memory_mb"`
	MaxMemory    int64 `json:"max_memory_mb"`
	MinVolume    int64 `json:"min_volume_mb"`
	MaxVolume    int64 `json:"max_volume_mb"`
	MinAutoscale int64 `json:"min_autoscale_size"`
	MaxAutoscale int64 `json:"max_autoscale_size"`
	MinVCPUs     int64 `json:"min_vcpus"`
	MaxVCPUs     int64 `json:"max_vcpus"`
}

type quota struct {
	UUID   string  `json:"uuid"`
	Used   amounts `json:"used"`
	Hard   amounts `json:"hard"`
	Limits limits  `json:"limits"`
}

type user struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

// accountUUID is the same on every berth: version 5, in the URL namespace of RFC
// 9562, of oci://<name>.
func accountUUID(name string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("oci://"+name)).String()
}

// visibleAccounts are those that the caller may know of: an administrator all of
// them, others themselves. An open registry has none.
func (c *call) visibleAccounts() []access.Account {
	name := c.caller.Name()
	if name == "" {
		return nil
	}
	accounts := c.opts.Accounts.Current()
	if c.caller.Admin() {
		return accounts.Accounts()
	}
	if account, ok := accounts.Account(name); ok {
		return []access.Account{*account}
	}
	return nil // removed since
}

// users answers GET /v1/users.
func (c *call) users() error {
	all := []user{}
	for _, a := range c.visibleAccounts() {
		all = append(all, user{accountUUID(a.Name), a.Name})
	}
	writeData(c.w, c.r, "users", all, c.start)
	return nil
}

// quotas answers GET /v1/users/quotas for the account that asks, and, with a UUID
// in the path, for any that it may know of. An open registry has no accounts, and
// no quotas.
func (c *call) quotas() error {
	all := []quota{}
	for _, a := range c.visibleAccounts() {
		id := accountUUID(a.Name)
		if c.id == "" && a.Name != c.caller.Name() || c.id != "" && !sameUUID(c.id, id) {
			continue
		}
		q, err := c.quota(c.r.Context(), id, a)
		if err != nil {
			return err
		}
		all = append(all, q)
	}
	if c.id != "" && len(all) == 0 {
		return &failure{http.StatusNotFound, "there is no user with the uuid " + shown(c.id) + "; want one of GET /v1/users"}
	}
	writeData(c.w, c.r, "quotas", all, c.start)
	return nil
}

// quota is what an account stores, and how much it may.
func (c *call) quota(ctx context.Context, id string, a access.Account) (quota, error) {
	usage, err := c.catalog.Usage(ctx, a.Name)
	if err == nil {
		usage.Bytes, err = c.opts.Used(ctx, a.Name)
	}
	if err != nil {
		return quota{}, err
	}
	q := quota{UUID: id, Used: amounts{ImageStorage: &usage.Bytes, Images: &usage.Images}}
	if a.Quota > 0 {
		q.Hard.ImageStorage = &a.Quota
	}
	return q, nil
}

func sameUUID(a, b string) bool {
	x, _ := parseUUID(a)
	y, _ := parseUUID(b)
	return x == y
}
