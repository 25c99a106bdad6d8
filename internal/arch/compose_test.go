package arch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"ferry/config"
	"ferry/queue/drivers"
)

// service is one of docker-compose.yml, as far as it is looked at here.
type service struct {
	Image       string               `yaml:"image"`
	Profiles    []string             `yaml:"profiles"`
	DependsOn   map[string]yaml.Node `yaml:"depends_on"`
	Environment map[string]string    `yaml:"environment"`
	Ports       []string             `yaml:"ports"`
	Volumes     []string             `yaml:"volumes"`
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
		for other := range s.DependsOn {
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

// TestNobodyAcceptsTermsForOthers: images of others come with terms, which only who
// runs them can accept. What they need stands in the environment of that person.
func TestNobodyAcceptsTermsForOthers(t *testing.T) {
	list, _ := services(t)
	foreign := 0
	for name, s := range list {
		if s.Image == "" {
			continue
		}
		foreign++
		if len(s.Profiles) == 0 {
			t.Errorf("%s starts %s without being asked for", name, s.Image)
		}
		for _, variable := range []string{"ACCEPT_EULA", "MSSQL_SA_PASSWORD"} {
			if value := s.Environment[variable]; value != "${"+variable+":-}" {
				t.Errorf("%s: %s is %q, it must be empty unless its user sets it", name, variable, value)
			}
		}
	}
	if foreign != 2 {
		t.Errorf("%d services run images of others", foreign)
	}
}

// TestTheEmulatorHasTheQueues: Config.json is what the command prints for the
// example, whose worker is the one that docker-compose.yml makes a login for.
func TestTheEmulatorHasTheQueues(t *testing.T) {
	folder := filepath.Join(root(t), "examples", "servicebus")
	broker, err := config.LoadBroker(filepath.Join(folder, "broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	worker := loadWorker(t, filepath.Join(folder, "worker.yaml"))
	var routes []string
	for _, r := range broker.Routes {
		routes = append(routes, r.Name)
	}
	want, err := drivers.Plan(drivers.PlanEmulator, broker.Queue.ServiceBus, routes, []string{worker.Name})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(folder, "Config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("examples/servicebus/Config.json differs from `broker servicebus provision --print emulator` (-want +got):\n%s", diff)
	}
	mounted := "./examples/servicebus/Config.json:/ServiceBus_Emulator/ConfigFiles/Config.json:ro"
	if list, _ := services(t); !slices.Contains(list["servicebus"].Volumes, mounted) {
		t.Errorf("the emulator does not get Config.json: %v", list["servicebus"].Volumes)
	}
}
