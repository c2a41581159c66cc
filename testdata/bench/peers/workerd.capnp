using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .peer)],
  sockets = [(name = "http", address = "127.0.0.1:8080", http = (), service = "main")],
);

const peer :Workerd.Worker = (
  modules = [(name = "peer.js", esModule = embed "peer.js")],
  compatibilityDate = "2026-01-01",
);
