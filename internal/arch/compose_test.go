package arch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// service is one of docker-compose.yml, as far as it is looked at here.
type service struct {
	Profiles  []string  `yaml:"profiles"`
	DependsOn yaml.Node `yaml:"depends_on"` // a list, or a map with conditions
	Ports     []string  `yaml:"ports"`
	Volumes   []string  `yaml:"volumes"`
}

// dependsOn names the services that it waits for.
func (s service) dependsOn() (names []string) {
	step := 1
	if s.DependsOn.Kind == yaml.MappingNode {
		step = 2
	}
	for i := 0; i < len(s.DependsOn.Content); i += step {
		names = append(names, s.DependsOn.Content[i].Value)
	}
	return names
}

func services(t *testing.T) (list map[string]service, volumes map[string]yaml.Node) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]service   `yaml:"services"`
		Volumes  map[string]yaml.Node `yaml:"volumes"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Services, file.Volumes
}

// TestComposeProfiles: what starts without a profile needs nothing of one, and each
// port is taken once, so that all can run beside each other.
func TestComposeProfiles(t *testing.T) {
	list, volumes := services(t)
	ports := map[string]string{}
	plain := 0
	for name, s := range list {
		if len(s.Profiles) == 0 {
			plain++
		}
		for _, other := range s.dependsOn() {
			of, there := list[other]
			if !there {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
			if len(of.Profiles) > 0 && !slices.Equal(of.Profiles, s.Profiles) {
				t.Errorf("%s depends on %s, which is of the profiles %v", name, other, of.Profiles)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s offers port %s to everybody", name, port)
			}
			outside := port[:strings.LastIndex(port, ":")]
			if ports[outside] != "" {
				t.Errorf("%s and %s both offer %s", name, ports[outside], outside)
			}
			ports[outside] = name
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, there := volumes[from]; !there && !strings.HasPrefix(from, "./") {
				t.Errorf("%s mounts the volume %s, which is not there", name, from)
			}
		}
	}
	if plain < 4 {
		t.Errorf("only %d services start without a profile", plain)
	}
}
