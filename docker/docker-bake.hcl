# Every image from source: docker buildx bake -f docker/docker-bake.hcl (from the repository's root).
# One platform is loaded into Docker. Both are pushed, by a builder that can make several (docker buildx create --use) on a
# machine that can run the other's programs (QEMU, for the packages in the builder's image):
#   REPOSITORY=registry.example.com/sequencer docker buildx bake -f docker/docker-bake.hcl \
#     --set '*.platform=linux/amd64,linux/arm64' --set '*.output=type=registry'
# (--push alone keeps type=docker beside it, which takes no image of several platforms.)

variable "REPOSITORY" {
  default = "sequencer"
}

variable "TAG" {
  default = "0.1.0"
}

variable "RUST_IMAGE" {
  default = "docker.io/library/rust:1.95-bookworm"
}

variable "DEBIAN_IMAGE" {
  default = "docker.io/library/debian:bookworm-slim"
}

group "default" {
  targets = ["service"]
}

target "service" {
  name       = service
  matrix     = { service = ["watcher", "builder", "registry-pusher", "network", "deployer"] }
  context    = "."
  dockerfile = "docker/Dockerfile"
  args = {
    SERVICE      = service
    BASE         = service == "builder" ? "git" : "plain"
    RUST_IMAGE   = RUST_IMAGE
    DEBIAN_IMAGE = DEBIAN_IMAGE
  }
  tags   = ["${REPOSITORY}/${service}:${TAG}"]
  output = ["type=docker"]
}
