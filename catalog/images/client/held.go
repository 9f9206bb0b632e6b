package client

import (
	"maps"
	"slices"
	"strings"
)

// held is images, and how they are found.
type held struct {
	images map[string]Image // by UUID
	tagged map[string]string
	// named are those with a digest in a repository, by "<name>@<digest>"; one of a
	// platform is that of every image with the platform.
	named map[string][]string
	// digests are those with a digest anywhere.
	digests map[string][]string
}

func newHeld() held {
	return held{map[string]Image{}, map[string]string{}, map[string][]string{}, map[string][]string{}}
}

// shortName is a name as images are looked up by: an official one without official/.
func shortName(name string) string { return strings.TrimPrefix(name, "official/") }

// digestsOf are the digests by which an image is found.
func digestsOf(image Image) []string {
	all := []string{image.Digest()}
	for _, p := range image.Platforms {
		if !slices.Contains(all, p.Digest) {
			all = append(all, p.Digest)
		}
	}
	return all
}

func (h *held) put(image Image) {
	h.remove(image.UUID)
	h.images[image.UUID] = image
	name := shortName(image.Name())
	for _, tag := range image.Tags {
		h.tagged[name+":"+tag] = image.UUID
	}
	for _, digest := range digestsOf(image) {
		h.named[name+"@"+digest] = append(h.named[name+"@"+digest], image.UUID)
		h.digests[digest] = append(h.digests[digest], image.UUID)
	}
}

func (h *held) remove(uuid string) {
	image, ok := h.images[uuid]
	if !ok {
		return
	}
	delete(h.images, uuid)
	name := shortName(image.Name())
	for _, tag := range image.Tags {
		// By now the tag may be another image's.
		if h.tagged[name+":"+tag] == uuid {
			delete(h.tagged, name+":"+tag)
		}
	}
	for _, digest := range digestsOf(image) {
		without(h.named, name+"@"+digest, uuid)
		without(h.digests, digest, uuid)
	}
}

func without(all map[string][]string, key, uuid string) {
	left := slices.DeleteFunc(all[key], func(one string) bool { return one == uuid })
	if len(left) == 0 {
		delete(all, key)
		return
	}
	all[key] = left
}

func (h *held) get(image string) (Image, bool) {
	if isUUID(image) {
		found, ok := h.images[strings.ToLower(image)]
		return found, ok
	}
	if name, digest, ok := strings.Cut(image, "@"); ok {
		return h.first(h.named[shortName(name)+"@"+digest], digest)
	}
	if uuids := h.digests[image]; len(uuids) > 0 {
		return h.first(uuids, image)
	}
	image = shortName(image)
	if !strings.Contains(image, ":") {
		image += ":latest"
	}
	found, ok := h.images[h.tagged[image]]
	return found, ok
}

// first is one of several: that which has the digest itself, and else the first by
// name.
func (h *held) first(uuids []string, digest string) (Image, bool) {
	var found []Image
	for _, uuid := range uuids {
		found = append(found, h.images[uuid])
	}
	if len(found) == 0 {
		return Image{}, false
	}
	own := slices.IndexFunc(found, func(i Image) bool { return i.Digest() == digest })
	slices.SortFunc(found, byName)
	if own >= 0 {
		found = slices.DeleteFunc(found, func(i Image) bool { return i.Digest() != digest })
	}
	return found[0], true
}

func (h *held) sorted() []Image {
	all := slices.Collect(maps.Values(h.images))
	slices.SortFunc(all, byName)
	return all
}
