"""As little Django as it takes to serve four pages."""

SECRET_KEY = "not a secret in an example"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "app"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
USE_TZ = True
